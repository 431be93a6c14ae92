"""MessagePack by msgspec, imported at its first use."""

from __future__ import annotations

from typing import Any

__all__ = ("decode", "encode")


def encode(data: Any) -> bytes:
    """The value as MessagePack; TypeError when msgspec cannot encode it."""
    import msgspec

    return msgspec.msgpack.encode(data)


def decode(data: bytes) -> Any:
    """The value of a MessagePack message; ValueError when it is not one, and RecursionError when it is
    nested deeper than Python's recursion limit allows."""
    import msgspec

    return msgspec.msgpack.decode(data)
