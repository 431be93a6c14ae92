"""TLS between the peers and the engine."""
