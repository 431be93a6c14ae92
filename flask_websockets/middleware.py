"""Between the WSGI server and the Flask application: lets an upgrade request leave the server.

The application runs for it in a thread, or greenlet, of its own. As soon as that has decided, the
server gets its answer and its worker back; an accepted connection lives on without it.
"""

from __future__ import annotations

import contextvars
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from werkzeug.exceptions import HTTPException

from . import handlers, servers
from ._core import list_contains
from .handlers.asynchronous import event_loop
from .interfaces import Handlers
from .runtime import Runtime
from .upgrade import APART, ASYNC, ENVIRON_KEY, NO_SOCKET_KEY, VIEW_MARK, Answered, Refused, Upgrade

__all__ = ("Middleware",)

#: What the URL of a request is made of, and what makes it a websocket's.
URL_KEYS = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "SCRIPT_NAME",
    "PATH_INFO",
    "HTTP_UPGRADE",
    "HTTP_CONNECTION",
)

#: So many URLs are known by heart, and only such short ones (bytes): the clients choose them.
KNOWN_MAX = 256
KNOWN_PATH_MAX = 200

WSGIApp = Callable[..., Iterable[bytes]]


class Middleware:
    """What ``init_app`` puts around ``app.wsgi_app``.

    :param wsgi_app: the application.
    :param runtime: the engine and configuration of this application.
    """

    def __init__(self, wsgi_app: WSGIApp, runtime: Runtime) -> None:
        self.wsgi_app = wsgi_app
        self.runtime = runtime
        #: URLs that have led to a view of ours. One that no longer does is no harm: Flask looks again.
        self._known: dict[tuple[Any, ...], str] = {}
        self._answered: Answered | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        where = self.where(environ) if is_upgrade(environ) else None
        if where is None:
            return self.wsgi_app(environ, start_response)
        if has_body(environ):  # before anybody waits for it
            return answer(start_response, "400 Bad Request", "A WebSocket handshake has no body.")
        try:
            socket = servers.find(environ)
        except servers.NoSocket as error:
            environ[NO_SOCKET_KEY] = str(error)  # for the view to say
            return self.wsgi_app(environ, start_response)
        socket.prepare(start_response)
        # There is no body, and what servers have here reads on into the websocket's bytes, or keeps
        # its buffer for as long as the request lives.
        environ["wsgi.input"] = io.BytesIO()
        if where != APART:
            return self.run_here(environ, start_response, socket, where)
        if not self.runtime.enter_handler():
            return overloaded(start_response)
        started = False
        try:
            here = handlers.current()
            upgrade = self.upgrade(socket, here)
            environ[ENVIRON_KEY] = upgrade
            name = f"ws {environ.get('PATH_INFO', '')} {environ.get('REMOTE_ADDR', '')}"
            here.start(Call(self, environ, upgrade).run, name)
            started = True
        except (RuntimeError, MemoryError):  # no thread to be had
            return overloaded(start_response)
        finally:
            if not started:
                self.runtime.leave_handler()
        refused: Refused | None = upgrade.wait()
        if upgrade.timed_out:
            self.runtime.app.logger.warning(
                "a WebSocket handshake of %s was not decided within WEBSOCKETS_HANDSHAKE_TIMEOUT",
                environ.get("PATH_INFO", ""),
            )
        if refused is not None:
            start_response(refused.status, refused.headers)
            return refused.body
        return Swallowed(upgrade, upgrade.answer_server(start_response))

    def upgrade(self, socket: servers.ServerSocket, here: Handlers) -> Upgrade:
        runtime = self.runtime
        engine = runtime.engine
        if self._answered is None:
            self._answered = Answered(engine)
        return Upgrade(socket, engine, runtime.config, here, self._answered)

    def where(self, environ: dict[str, Any]) -> str | None:
        """Where the view of this URL runs, if it is one of this extension. Others keep the server's
        thread and socket: pages that are asked for an upgrade, and the websockets of other
        extensions."""
        url = tuple(map(environ.get, URL_KEYS))
        known = self._known.get(url)
        if known is not None:
            return known
        where = self.match(environ)
        if where is not None and len(environ.get("PATH_INFO", "")) <= KNOWN_PATH_MAX:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[url] = where
        return where

    def match(self, environ: dict[str, Any]) -> str | None:
        app = self.runtime.app
        try:
            adapter = app.create_url_adapter(app.request_class(environ))
            if adapter is None:
                return None
            rule, _ = adapter.match(return_rule=True)
        except HTTPException:  # among them redirects
            return None
        return getattr(app.view_functions.get(rule.endpoint), VIEW_MARK, None)

    def run_here(
        self, environ: dict[str, Any], start_response: Any, socket: servers.ServerSocket, where: str
    ) -> Iterable[bytes]:
        """A class view, or an async one: the request runs in the server's own thread, and in a context
        of its own, in which callbacks will run."""
        runtime = self.runtime
        if runtime.shutting_down:
            return overloaded(start_response)
        runtime.started = True
        here: Handlers = handlers.current()
        if where == ASYNC:
            if here.notifier is not None:
                text = "Async views need threads, and this server runs on greenlets."
                runtime.app.logger.error(text)
                return answer(start_response, "501 Not Implemented", text)
            here = event_loop()
        upgrade = self.upgrade(socket, here)
        environ[ENVIRON_KEY] = upgrade
        upgrade.context = context = contextvars.copy_context()
        given: list[Any] = []
        written: list[bytes] = []

        def keep(*answer: Any) -> Callable[[bytes], object]:
            given[:] = answer
            return written.append

        try:
            body = context.run(self.wsgi_app, environ, keep)
        except BaseException:
            upgrade.begin()
            raise
        if upgrade.accepted:
            if hasattr(body, "close"):
                body.close()
            swallowed = Swallowed(upgrade, upgrade.answer_server(start_response))
            upgrade.begin()
            return swallowed
        write = start_response(*given)
        for data in written:
            write(data)
        return body


class Call:
    """A call of the application in a thread, or greenlet, of its own. Of what it makes there should be
    little, as it is there as long as the websocket."""

    __slots__ = ("_answer", "_body", "_environ", "_middleware", "_upgrade")

    def __init__(self, middleware: Middleware, environ: dict[str, Any], upgrade: Upgrade) -> None:
        self._middleware = middleware
        self._environ = environ
        self._upgrade = upgrade
        self._answer: tuple[str, list[tuple[str, str]]] | None = None
        self._body: list[bytes] | None = None

    def run(self) -> None:
        """The handler: from before_request to teardown."""
        upgrade = self._upgrade
        try:
            body = self._collect(self._middleware.wsgi_app(self._environ, self._start_response))
        except BaseException as error:
            # Before the decision it is the server's to report, as for any page; what happens after
            # it, the view has logged.
            upgrade.answer(error)
        else:
            if self._answer is not None:
                upgrade.answer(Refused(*self._answer, body))
            elif not upgrade.accepted:
                upgrade.answer(RuntimeError("the application has neither answered nor accepted"))
        finally:
            self._middleware.runtime.leave_handler()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        self._answer = (status, headers)
        if self._body is None:
            self._body = []
        return self._body.append

    def _collect(self, iterable: Iterable[bytes]) -> list[bytes]:
        try:
            last = list(iterable)
            return [*(self._body or ()), *last]
        finally:
            if hasattr(iterable, "close"):
                iterable.close()


class Swallowed:
    """The empty answer of an accepted handshake; the server calls close() once it is written."""

    def __init__(self, upgrade: Upgrade, body: tuple[bytes, ...]) -> None:
        self._upgrade = upgrade
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        self._upgrade.finished()


def is_upgrade(environ: dict[str, Any]) -> bool:
    """Is this a request whose connection a websocket view might want? Not all of the rules: what is
    wrong with a handshake, the view says."""
    return environ.get("REQUEST_METHOD") == "GET" and list_contains(
        environ.get("HTTP_UPGRADE", ""), "websocket"
    )


def has_body(environ: dict[str, Any]) -> bool:
    """Is there anything between the head of the request and what follows it on the connection?"""
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ


def overloaded(start_response: Any) -> list[bytes]:
    text = "Too many WebSocket handlers are running; try again later."
    return answer(start_response, "503 Service Unavailable", text, ("Retry-After", "5"))


def answer(start_response: Any, status: str, text: str, *headers: tuple[str, str]) -> list[bytes]:
    """Plain HTTP, without the application."""
    body = text.encode() + b"\n"
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*fields, *headers])
    return [body]
