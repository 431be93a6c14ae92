"""What programs written for flask-websockets 0.1.2 import or call, and this version has no use for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ("AbstractSocket", "no_accept")


class AbstractSocket(ABC):
    """What 0.1.2 expected of a server's socket, for the annotations of programs that name it."""

    @abstractmethod
    def send(self, data: Any) -> None:
        """Send bytes."""

    @abstractmethod
    def recv(self, num_bytes: int | None = None) -> bytes:
        """Receive bytes."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket."""


def no_accept(given: object) -> TypeError:
    """The error of ``WebSocket.accept(request.environ)``, which answered a handshake in 0.1.2.

    :param given: what it was called on, instead of a websocket.
    """
    return TypeError(
        f"accept() is a method of the websocket that a handler is given, and was called on "
        f"{type(given).__name__}. A view cannot accept a handshake by itself: decorate a function with "
        "@websockets.route(path), and it is called with the websocket"
    )
