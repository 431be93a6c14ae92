"""Between the WSGI server and the Flask application: lets an upgrade request leave the server.

For a function view the application runs in a thread, or greenlet, of its own. Once the handshake is
accepted or refused, the server gets its answer and its worker back; an accepted connection lives on
without that worker.
"""

from __future__ import annotations

import contextvars
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

from .. import handlers, servers
from .._core import Admission, list_contains
from ..handlers.asynchronous import event_loop
from ..interfaces import Executor
from ..keys import ENVIRON_KEY, EVENT_LOOP, NO_SOCKET_KEY, OWN_THREAD, SERVER_THREAD
from ..records import limit_met
from ..runtime import Runtime
from .answer import warn_of_time_out
from .async_upgrade import AsyncUpgrade
from .finished import FinishedHandshake
from .inner import Arrived, InnerMiddleware
from .matching import UrlMatching
from .refusals import PlainAnswer
from .upgrade import Upgrade

__all__ = ("Middleware",)

WSGIApp = Callable[..., Iterable[bytes]]


class Middleware:
    """What ``init_app`` puts around ``app.wsgi_app``.

    :param wsgi_app: the application.
    :param runtime: the engine and configuration of this application.
    :param note_unmatched: called with the application and the path of a handshake that has no route.
    """

    def __init__(
        self, wsgi_app: WSGIApp, runtime: Runtime, note_unmatched: Callable[[Flask, str], None]
    ) -> None:
        self.wsgi_app = wsgi_app
        self.runtime = runtime
        self._note_unmatched = note_unmatched
        self._url_matching = UrlMatching(runtime.app)
        self._inner = InnerMiddleware(runtime.app, wsgi_app, self._url_matching)
        self._finished_handshake: FinishedHandshake | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not is_upgrade(environ):
            return self.wsgi_app(environ, start_response)
        place = self._url_matching.place(environ)
        if place is None:
            try:
                answer = self._inner.call(self.wsgi_app, environ, start_response)
            except Arrived as found:
                place = found.place
            else:
                self._note_unmatched(self.runtime.app, environ.get("PATH_INFO", ""))
                return answer
        if has_body(environ):  # its bytes would be read as frames
            return respond(start_response, "400 Bad Request", "A WebSocket handshake has no body.")
        socket = self.find_socket(environ)
        if socket is None:
            return self.wsgi_app(environ, start_response)
        start_response = socket.prepare(start_response)
        # There is no body. The server's own object would read the websocket's bytes, or keep its buffer
        # for as long as the request lives.
        environ["wsgi.input"] = io.BytesIO()
        if place != OWN_THREAD:
            return self.run_in_server_thread(environ, start_response, socket, place)
        if not self.runtime.start():
            return shutting_down(start_response)
        admission = self.runtime.admit_handler()
        if admission is None:
            limit_met("WEBSOCKETS_HANDLER_THREADS", "a WebSocket handshake was refused")
            return too_many_handlers(start_response)
        name = f"ws {environ.get('PATH_INFO', '')} {environ.get('REMOTE_ADDR', '')}"
        upgrade = None
        try:
            try:
                executor = handlers.current_executor()
                environ[ENVIRON_KEY] = upgrade = self.upgrade(socket, executor, place)
                call = Call(self, environ, upgrade, admission)
                executor.start(call.run, name)
            except (RuntimeError, MemoryError):  # no thread can be started
                admission.discard()
                return too_many_handlers(start_response)
            del admission  # only the handler has it
            refusal: PlainAnswer | None = upgrade.wait()
        except BaseException:  # what the application raised, or another thread in this one
            if upgrade is not None:
                upgrade.server_answers()
            raise
        if upgrade.timed_out:
            warn_of_time_out(environ)
        if refusal is not None:
            start_response(refusal.status, refusal.headers)
            return refusal.body
        return DiscardedAnswer(upgrade, upgrade.discard_answer(start_response))

    def find_socket(self, environ: dict[str, Any]) -> servers.ServerSocket | None:
        """The socket of a handshake; None when it cannot be had, and the view answers with why."""
        socket = None
        try:
            socket = servers.find(environ)
            if socket.notice is not None:
                self.runtime.log_once(logging.WARNING, socket.notice)
        except servers.NoSocket as error:
            environ[NO_SOCKET_KEY] = str(error)
        if environ["HTTP_UPGRADE"].lower() != "websocket":  # a list, of which this is what we take
            environ["HTTP_UPGRADE"] = "websocket"  # Werkzeug's matching knows no list
        return socket

    def upgrade(self, socket: servers.ServerSocket, executor: Executor, place: str) -> Upgrade:
        if self._finished_handshake is None:  # two threads may each make one, which does no harm
            self._finished_handshake = FinishedHandshake(self.runtime.engine)
        kind = AsyncUpgrade if place == EVENT_LOOP else Upgrade
        upgrade = kind(socket, self.runtime, executor, self._finished_handshake)
        upgrade.place = place
        return upgrade

    def run_in_server_thread(
        self, environ: dict[str, Any], start_response: Any, socket: servers.ServerSocket, place: str
    ) -> Iterable[bytes]:
        """A class view, or an async one: the request runs in the server's own thread, and in a context
        of its own, in which callbacks will run."""
        runtime = self.runtime
        if not runtime.start():
            return shutting_down(start_response)
        executor = handlers.current_executor()
        if place == EVENT_LOOP:
            if executor.notifier is not None:
                text = (
                    "Async views need threads, and this server runs on greenlets: make the view a "
                    "function or a class, or take a server with threads, as gunicorn's gthread worker."
                )
                runtime.log_once(logging.ERROR, text)
                return respond(start_response, "501 Not Implemented", text)
            try:
                executor = event_loop()
            except (RuntimeError, MemoryError, OSError):  # no thread can be started
                return too_many_handlers(start_response)
        upgrade = self.upgrade(socket, executor, place)
        environ[ENVIRON_KEY] = upgrade
        if place == SERVER_THREAD:
            upgrade.context = contextvars.copy_context()
        answer = CollectedAnswer()
        try:
            context = contextvars.copy_context()
            body = context.run(self.wsgi_app, environ, answer.start_response)
            if not upgrade.accepted:
                # The body is made in the context in which stream_with_context() has begun it.
                refusal = answer.plain_answer(context.run(answer.collect, body))
                start_response(refusal.status, refusal.headers)
                return refusal.body
            close(body)
            discarded = DiscardedAnswer(upgrade, upgrade.discard_answer(start_response))
            upgrade.request_ended()
            return discarded
        except BaseException:
            upgrade.request_ended()
            raise


class CollectedAnswer:
    """What the application gives to ``start_response``, which is sent if the handshake is refused."""

    __slots__ = ("_start", "_written")

    def __init__(self) -> None:
        self._start: tuple[str, list[tuple[str, str]]] | None = None
        self._written: list[bytes] | None = None

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """As the application calls it; :pep:`3333`."""
        self._start = (status, headers)
        if self._written is None:
            self._written = []
        return self._written.append

    @property
    def is_started(self) -> bool:
        """Has the application called ``start_response``?"""
        return self._start is not None

    def collect(self, body: Iterable[bytes]) -> list[bytes]:
        """The whole body: what was written, and what the application has returned, which is closed."""
        try:
            last = list(body)  # an application may call start_response as late as in here
            return [*(self._written or ()), *last]
        finally:
            close(body)

    def plain_answer(self, body: list[bytes]) -> PlainAnswer:
        """The answer, to be sent by another thread; ``body`` is what :meth:`collect` has returned."""
        if self._start is None:
            raise RuntimeError("the application has neither answered nor accepted")
        return PlainAnswer(*self._start, body)


class Call(CollectedAnswer):
    """A call of the application in a thread, or greenlet, of its own. It lives as long as the
    websocket, so it should take little memory."""

    __slots__ = ("_admission", "_context", "_environ", "_middleware", "_upgrade")

    def __init__(
        self, middleware: Middleware, environ: dict[str, Any], upgrade: Upgrade, admission: Admission
    ) -> None:
        super().__init__()
        self._admission = admission
        self._middleware = middleware
        self._environ = environ
        self._upgrade = upgrade
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """The handler: from before_request to teardown, in a context of its own."""
        self._context.run(self._run)

    def _run(self) -> None:
        upgrade = self._upgrade
        try:
            body = self.collect(self._middleware.wsgi_app(self._environ, self.start_response))
            if self.is_started or not upgrade.accepted:
                upgrade.decide(self.plain_answer(body))
        except BaseException as error:
            # Before the decision the server reports it, as for any page.
            upgrade.decide(error)
            if upgrade.accepted:
                logger = self._middleware.runtime.app.logger
                logger.error("Exception after a WebSocket handshake", exc_info=error)
        finally:
            self._admission.discard()  # of C: nothing can come before
            self._middleware.runtime.notify()


class DiscardedAnswer:
    """The answer that the server writes to an accepted handshake, and that the client never gets. The
    server calls close() once it has written it."""

    def __init__(self, upgrade: Upgrade, body: tuple[bytes, ...]) -> None:
        self._upgrade = upgrade
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        if not self._body:  # then nothing is written, and gevent-websocket does not call close()
            self.close()

    def close(self) -> None:
        self._upgrade.answer_written()


def close(body: Iterable[bytes]) -> None:
    """Close what an application has returned, :pep:`3333`."""
    if hasattr(body, "close"):
        body.close()


def is_upgrade(environ: dict[str, Any]) -> bool:
    """Does this request ask for a websocket? The other rules of a handshake are checked by the view,
    which answers with what is wrong."""
    return environ.get("REQUEST_METHOD") == "GET" and list_contains(
        environ.get("HTTP_UPGRADE", ""), "websocket"
    )


def has_body(environ: dict[str, Any]) -> bool:
    """Has the request a body, which would come before the bytes of the websocket?"""
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ


def too_many_handlers(start_response: Any) -> list[bytes]:
    text = "Too many WebSocket handlers are running; try again later."
    return respond(start_response, "503 Service Unavailable", text, ("Retry-After", "5"))


def shutting_down(start_response: Any) -> list[bytes]:
    text = "The server is shutting down; try again later."
    return respond(start_response, "503 Service Unavailable", text, ("Retry-After", "5"))


def respond(start_response: Any, status: str, text: str, *headers: tuple[str, str]) -> list[bytes]:
    """Answer with plain HTTP, without the application."""
    body = text.encode() + b"\n"
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*fields, *headers])
    return [body]
