"""Between the WSGI server and the Flask application: lets an upgrade request leave the server.

The application runs for it in a thread of its own. As soon as that has decided, the server gets its
answer and its worker back; an accepted connection lives on without it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import servers
from ._core import list_contains
from .upgrade import ENVIRON_KEY, Refused, Upgrade

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ("Middleware",)

WSGIApp = Callable[..., Iterable[bytes]]


class Middleware:
    """What ``init_app`` puts around ``app.wsgi_app``.

    :param wsgi_app: the application.
    :param runtime: the engine and configuration of this application.
    """

    def __init__(self, wsgi_app: WSGIApp, runtime: Runtime) -> None:
        self.wsgi_app = wsgi_app
        self.runtime = runtime

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not is_upgrade(environ):
            return self.wsgi_app(environ, start_response)
        socket = servers.find(environ)
        if socket is None or not socket.is_plain:
            return self.wsgi_app(environ, start_response)  # the view says what is missing
        if not self.runtime.enter_handler():
            return overloaded(start_response)
        started = False
        try:
            upgrade = Upgrade(socket, self.runtime.engine, self.runtime.config)
            environ[ENVIRON_KEY] = upgrade
            name = f"ws {environ.get('PATH_INFO', '')} {environ.get('REMOTE_ADDR', '')}"
            # A daemon: the interpreter's end does not wait for handlers beyond close_timeout.
            thread = threading.Thread(target=self.run, args=(environ, upgrade), name=name, daemon=True)
            thread.start()
            started = True
        except (RuntimeError, MemoryError):  # no thread to be had
            return overloaded(start_response)
        finally:
            if not started:
                self.runtime.leave_handler()
        refused = upgrade.wait()
        if upgrade.timed_out:
            self.runtime.app.logger.warning(
                "a WebSocket handshake of %s was not decided within WEBSOCKETS_HANDSHAKE_TIMEOUT",
                environ.get("PATH_INFO", ""),
            )
        if refused is not None:
            start_response(refused.status, refused.headers)
            return refused.body
        start_response("101 Switching Protocols", [])
        return Swallowed(upgrade)

    def run(self, environ: dict[str, Any], upgrade: Upgrade) -> None:
        """The handler's thread: the application, from before_request to teardown."""
        be_patient()
        answer: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            answer[:] = [status, headers]
            return body.append

        body: list[bytes] = []
        try:
            iterable = self.wsgi_app(environ, start_response)
            try:
                body.extend(iterable)
            finally:
                if hasattr(iterable, "close"):
                    iterable.close()
        except BaseException as error:
            # Before the decision it is the server's to report, as for any page; what happens after
            # it, the view has logged.
            upgrade.answer(error)
        else:
            upgrade.answer(Refused(answer[0], answer[1], body))
        finally:
            self.runtime.leave_handler()


def be_patient() -> None:
    """Let this thread wait for its turn instead of interrupting another.

    A thread that a message wakes would preempt the one that runs, only to find that that one holds
    the GIL: two switches for nothing. With SCHED_BATCH a waking thread does not preempt.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # where a sandbox forbids it
            # The flag: what the handler starts is scheduled as usual.
            policy = os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(0))


class Swallowed:
    """The empty answer of an accepted handshake; the server calls close() once it is written."""

    def __init__(self, upgrade: Upgrade) -> None:
        self._upgrade = upgrade

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        self._upgrade.finished()


def is_upgrade(environ: dict[str, Any]) -> bool:
    return environ.get("REQUEST_METHOD") == "GET" and list_contains(
        environ.get("HTTP_UPGRADE", ""), "websocket"
    )


def overloaded(start_response: Any) -> list[bytes]:
    body = b"Too many WebSocket handlers are running; try again later.\n"
    start_response(
        "503 Service Unavailable",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Retry-After", "5"),
        ],
    )
    return [body]
