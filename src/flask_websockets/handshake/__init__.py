"""From a request that asks for a websocket to its answer: 101, after which the connection leaves the
server, or plain HTTP."""
