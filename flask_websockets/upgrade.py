"""One upgrade request between two threads: the server's, which waits for a decision, and the
handler's, which makes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from flask import Request

from ._core import Engine
from .config import Config
from .handshake import accept_response, choose_subprotocol, requested_subprotocols
from .servers import ServerSocket

if TYPE_CHECKING:
    from .websocket import WebSocket

__all__ = ("ENVIRON_KEY", "Refused", "Upgrade")

#: Where the WSGI environment carries the Upgrade of its request.
ENVIRON_KEY = "flask_websockets.upgrade"


class Refused:
    """The application answered with plain HTTP: what start_response was given, and the body."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: list[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Upgrade:
    """The decision about one handshake: accepted, answered with plain HTTP, or failed.

    It is made once; the lock of ``_changed`` protects all fields. The handler's thread makes it, or,
    when the handler has been running for ``WEBSOCKETS_ACCEPT_DELAY``, the server's thread accepts.

    :param socket: the connection, still in the server's hands.
    :param engine: the engine that an accepted connection goes to.
    :param config: the checked configuration.
    """

    def __init__(self, socket: ServerSocket, engine: Engine, config: Config) -> None:
        self.engine = engine
        self._socket: ServerSocket | None = socket
        self._config = config
        self._changed = threading.Condition()
        self._request: Request | None = None
        self._deciding: tuple[WebSocket, float] | None = None
        self._accepted = False
        self._outcome: Refused | BaseException | None = None

    # ---- the handler's thread ----

    def enter(self, ws: WebSocket, request: Request) -> None:
        """The handler begins: from now on the delay counts."""
        with self._changed:
            self._request = request
            self._deciding = (ws, time.monotonic() + self._config.accept_delay)
            self._changed.notify_all()

    def leave(self) -> bool:
        """The handler has ended: nobody else accepts from here on. True if it was accepted."""
        with self._changed:
            self._deciding = None
            return self._accepted

    def accept(
        self,
        ws: WebSocket,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    ) -> bool:
        """Answer with 101 and give the connection to the engine; False if that has happened."""
        with self._changed:
            if self._accepted:
                return False
            socket = self._socket
            if self._request is None or self._outcome is not None or socket is None:
                raise RuntimeError("the handshake was refused: there is no connection")
            if subprotocol is None:
                subprotocol = choose_subprotocol(self._request, self._config.subprotocols)
            elif subprotocol not in requested_subprotocols(self._request):
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
            reply = accept_response(self._request, subprotocol, headers)
            fd, received = socket.take()
            try:
                self.engine.attach(ws, fd, reply, received)
            except BaseException:
                socket.give_back(fd)
                raise
            ws.subprotocol = subprotocol
            self._accepted = True
            self._deciding = None
            self._request = None
            self._changed.notify_all()
            return True

    def answer(self, outcome: Refused | BaseException) -> None:
        """The application has answered with plain HTTP, or has failed before it accepted."""
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    # ---- the server's thread ----

    def wait(self) -> Refused | None:
        """Wait for the decision; None when the handshake was accepted.

        :raises BaseException: what the application raised instead of answering.
        """
        with self._changed:
            while not self._accepted and self._outcome is None:
                if self._deciding is None:
                    self._changed.wait()
                    continue
                ws, deadline = self._deciding
                left = deadline - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                try:
                    self.accept(ws, None, None)
                except Exception as error:
                    self._outcome = error
            if self._accepted:
                return None
            if isinstance(self._outcome, BaseException):
                raise self._outcome
            return self._outcome

    def finished(self) -> None:
        """The server has written the answer that nobody reads: its socket is of no more use."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.finished()
