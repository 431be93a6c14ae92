"""What is said of wrong arguments of the channel methods: what was seen, and what is taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._core import BaseWebSocket

__all__ = ("channel_names", "explain_publish", "not_a_websocket")


def channel_names(channels: Any) -> list[str]:
    """The names of an argument ``channels``, whose elements the core checks.

    :raises TypeError: for what is no str and not iterable; and for bytes, whose elements are numbers.
    """
    if isinstance(channels, str):
        return [channels]
    if isinstance(channels, (bytes, bytearray, memoryview)) or not isinstance(channels, Iterable):
        raise TypeError(f"channels must be a str or an iterable of str, not {type_of(channels)}")
    return list(channels)


def not_a_websocket(method: str, ws: Any, channels: Any) -> TypeError:
    """The error for a first argument that is no websocket."""
    if isinstance(channels, BaseWebSocket):
        return TypeError(
            f"{method}(ws, channels) takes the websocket first, and the names after it; here "
            f"{type_of(ws)} comes first, and the websocket second"
        )
    return TypeError(f"ws must be a WebSocket, not {type_of(ws)}")


def explain_publish(data: Any, channels: Any, error: TypeError) -> TypeError:
    """The error of the core for arguments of ``publish``; or one that says more."""
    if isinstance(data, BaseWebSocket) or isinstance(channels, BaseWebSocket):
        return TypeError(
            "publish(data, channels) takes no websocket: ws.send(data) sends to one, and exclude=ws "
            "leaves one out"
        )
    if str(error).startswith("publish() takes"):  # the core's, for the message
        return TypeError(
            f"{error} (any value with encode_json=True); the message comes first in "
            "publish(data, channels), and the names of the channels after it"
        )
    return error


def type_of(value: object) -> str:
    return "None" if value is None else type(value).__name__
