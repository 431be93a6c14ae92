"""One upgrade request between two threads: the server's, which waits for a decision, and the
handler's, which makes it."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any

from flask import Request
from werkzeug.exceptions import ServiceUnavailable

from . import servers
from ._core import Engine
from .config import Config, DeflateParameters
from .errors import ConnectionClosed
from .handshake import (
    accept_response,
    choose_compression,
    choose_subprotocol,
    requested_subprotocols,
)
from .interfaces import Condition, Handlers
from .servers import ServerSocket
from .views import Events
from .websocket import WebSocket

__all__ = (
    "APART",
    "ASYNC",
    "ENVIRON_KEY",
    "HERE",
    "NO_SOCKET_KEY",
    "VIEW_MARK",
    "Answered",
    "Refused",
    "Upgrade",
)

#: Where the WSGI environment carries the Upgrade of its request.
ENVIRON_KEY = "flask_websockets.upgrade"
#: Where it carries the reason that there is none.
NO_SOCKET_KEY = "flask_websockets.no_socket"


#: Seconds. A handler that begins need not wake the server's thread for the sake of a delay that is
#: longer: one switch of threads less for each handshake.
LOOK_AFTER = 0.05

#: The attribute of a view function of this extension: where it runs.
VIEW_MARK = "_flask_websockets_view"
#: In a thread, or greenlet, of its own, for as long as the connection lives.
APART = "apart"
#: In the server's, for the handshake alone.
HERE = "here"
#: The same, and the coroutine in the event loop of all.
ASYNC = "async"


class Settled:
    """In place of the condition of an upgrade that was accepted: nothing changes any more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> None:
        raise AssertionError("there is nothing to wait for")

    def notify_all(self) -> None:
        pass


SETTLED = Settled()


class Refused:
    """The application answered with plain HTTP: what start_response was given, and the body."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: list[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.body = body


#: Descriptors or memory: not the handler's fault, and it may pass.
USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def overloaded() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The server has no descriptors or no memory left for another WebSocket; try again later.",
        retry_after=5,
    )


def too_late() -> ServiceUnavailable:
    return ServiceUnavailable("The handshake took too long; try again later.", retry_after=5)


def refused(error: ServiceUnavailable) -> Refused:
    """The answer in its plain form. The connection ends with it: whoever is still at work on the
    request may be reading from it."""
    answer = error.get_response()
    headers = [*answer.get_wsgi_headers({}), ("Connection", "close")]
    return Refused(answer.status, headers, [answer.get_data()])


class Answered:
    """In place of the Upgrade of a websocket, once all is over: one for all of them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def accept(self, *_: object) -> bool:
        return False


class Upgrade:
    """The decision about one handshake: accepted, answered with plain HTTP, or failed.

    It is made once; the lock of ``_changed`` protects all fields. The handler's thread (or greenlet)
    makes it, or, when the handler has been running for ``WEBSOCKETS_ACCEPT_DELAY``, the server's
    accepts.

    :param socket: the connection, still in the server's hands.
    :param engine: the engine that an accepted connection goes to.
    :param config: the checked configuration.
    :param handlers: what the handler runs on.
    :param answered: what stands in for this object in the end.
    """

    def __init__(
        self,
        socket: ServerSocket,
        engine: Engine,
        config: Config,
        handlers: Handlers,
        answered: Answered,
    ) -> None:
        self.engine = engine
        self._answered = answered
        self._ws: WebSocket | None = None
        self._handlers = handlers
        self._socket: ServerSocket | None = socket
        self._config = config
        self._changed: Condition = handlers.condition()
        self._request: Request | None = None
        self._deciding: tuple[WebSocket, float] | None = None
        self._events: Events | None = None
        #: What is to be told of a websocket that was accepted, in whichever thread.
        self.attached: Callable[[Any], None] | None = None
        #: What is to be told of the end of the request.
        self.begins: Callable[[], None] | None = None
        #: Of class and async views: what their request runs in.
        self.context: Context | None = None
        #: It was, and the connection is the engine's. Stays so.
        self.accepted = False
        #: It was not decided within ``WEBSOCKETS_HANDSHAKE_TIMEOUT``, and answered with 503.
        self.timed_out = False
        self._outcome: Any = None

    # ---- the handler's thread ----

    def enter(self, ws: WebSocket, request: Request, events: Events | None = None) -> None:
        """The handler begins: from now on the delay counts.

        :param events: of a class view.
        """
        with self._changed:
            self._request = request
            self._events = events
            self._deciding = (ws, time.monotonic() + self._config.accept_delay)
            if self._config.accept_delay < LOOK_AFTER:  # else wait() looks in time by itself
                self._changed.notify_all()

    def leave(self) -> bool:
        """The handler has ended: nobody else accepts from here on. True if it was accepted."""
        with self._changed:
            self._deciding = None
            return self.accepted

    def accept(
        self,
        ws: WebSocket,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    ) -> bool:
        """Answer with 101 and give the connection to the engine; False if that has happened."""
        with self._changed:
            if self.accepted:
                return False
            socket = self._socket
            if self.timed_out:
                raise ConnectionClosed(1006, "the handshake took too long")
            if self._request is None or self._outcome is not None or socket is None:
                raise RuntimeError("the handshake was refused: there is no connection")
            if subprotocol is None:
                subprotocol = choose_subprotocol(self._request, self._config.subprotocols)
            elif subprotocol not in requested_subprotocols(self._request):
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
            extensions, compression = choose_compression(self._request, self._config) or (None, None)
            reply = accept_response(self._request, subprotocol, extensions, headers)
            try:
                self._attach(ws, socket, reply, compression)
            except (OSError, MemoryError) as error:
                if isinstance(error, OSError) and error.errno not in USED_UP:
                    raise
                raise overloaded() from error
            ws.subprotocol = subprotocol
            self.accepted = True
            self._deciding = None
            self._request = None
            self._ws = ws
            if self.attached is not None:
                self.attached(ws)
            self._changed.notify_all()
            return True

    def _attach(
        self, ws: WebSocket, socket: ServerSocket, reply: bytes, compression: DeflateParameters | None
    ) -> None:
        fd, received = socket.take()
        try:
            self.engine.attach(
                ws,
                fd,
                reply,
                received,
                compression=compression,
                notifier=self._handlers.notifier,
                wait=self._handlers.wait,
                events=self._events,
            )
        except BaseException:
            socket.give_back(fd)
            raise
        socket.keep()
        assert self._request is not None
        for key in servers.SOCKET_KEYS:  # what is gone, and would keep the server's buffers
            self._request.environ.pop(key, None)

    def answer(self, outcome: Any) -> None:
        """The application has answered with plain HTTP, or has failed before it accepted."""
        with self._changed:
            if not self.accepted:
                self._outcome = outcome
                self._changed.notify_all()

    # ---- the server's thread ----

    def wait(self) -> Any:
        """Wait for the decision: what answer() was given, or None when the handshake was accepted.

        :raises BaseException: what the application raised instead of answering.
        """
        limit = self._config.handshake_timeout
        end = time.monotonic() + limit if limit else math.inf
        with self._changed:
            while not self.accepted and self._outcome is None:
                now = time.monotonic()
                if now >= end:
                    self.timed_out = True
                    self._outcome = refused(too_late())
                    break
                # A handler that has not begun yet cannot be late before another delay is over.
                delay = max(self._config.accept_delay, LOOK_AFTER)
                ws, deadline = self._deciding or (None, now + delay)
                if ws is None or now < deadline:
                    self._changed.wait(min(end, deadline) - now)
                    continue
                try:
                    self.accept(ws, None, None)
                except ServiceUnavailable as error:
                    self._outcome = refused(error)
                except Exception as error:
                    self._outcome = error
            if self.accepted:
                return None
            if isinstance(self._outcome, BaseException):
                raise self._outcome
            return self._outcome

    def begin(self) -> None:
        """The handshake of a class view is over: its callbacks may begin."""
        events, self._events, self.context = self._events, None, None
        begins, self.begins = self.begins, None
        if events is not None and self.accepted:
            self._handlers.begin(events)
        if begins is not None:
            begins()

    def answer_server(self, start_response: Any) -> tuple[bytes, ...]:
        """It was accepted: the server needs to know of an answer, which nobody reads. Its body is
        returned."""
        assert self._socket is not None  # until the server has written it
        return self._socket.answer(start_response)

    def finished(self) -> None:
        """The server has written the answer that nobody reads: its socket is of no more use."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.finished()
        self._changed = SETTLED  # a condition takes more memory than the rest of this object
        ws, self._ws = self._ws, None
        if ws is not None:
            ws._upgrade = self._answered  # and this object, in thousands, more than that
