"""MessagePack by msgspec, which comes with ``pip install flask-websockets[msgpack]``."""

from __future__ import annotations

from typing import Any

__all__ = ("decode", "encode")


def encode(data: Any) -> bytes:
    """The value as MessagePack; TypeError when msgspec cannot encode it."""
    encoded: bytes = library().msgpack.encode(data)
    return encoded


def decode(data: bytes) -> Any:
    """The value of a MessagePack message; ValueError when it is not one."""
    return library().msgpack.decode(data)


def library() -> Any:
    try:
        import msgspec
    except ImportError as error:
        raise RuntimeError(
            "MessagePack needs msgspec: pip install flask-websockets[msgpack]"
        ) from error
    return msgspec
