"""One upgrade request between two threads: the server's, which waits for a decision, and the
handler's, which makes it."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import ServiceUnavailable

from .. import servers
from .._core import Admission
from ..config import DeflateParameters
from ..errors import ConnectionClosed
from ..interfaces import Callbacks, Condition, Executor
from ..keys import ENVIRON_KEY, OWN_THREAD
from ..records import warn_seldom
from ..runtime import CLOSE_REASON, Runtime
from ..servers import ServerSocket
from ..websocket import BaseWebSocket
from .answer import answer_instead, answer_sent, fields_of_101
from .finished import NO_CONDITION, FinishedHandshake
from .opening import (
    accept_response,
    choose_compression,
    choose_subprotocol,
    handshake_fields,
    requested_subprotocols,
)
from .refusals import USED_UP, PlainAnswer, plain_answer, shutting_down, too_late, used_up

__all__ = ("Upgrade",)

#: Seconds: how often the server's thread looks by itself whether the accept delay of a handler is over.
#: With a delay that is longer, a handler that starts need not wake that thread, which saves one switch
#: of threads for each handshake.
LOOK_INTERVAL = 0.05


#: Whose handshake is being answered by the code that runs.
ACCEPTING: ContextVar[Upgrade | None] = ContextVar("flask_websockets.accepting", default=None)


class Upgrade:
    """The decision about one handshake: accepted, answered with plain HTTP, or failed.

    It is made once, under the lock of ``_changed``, which protects all fields: by the handler's thread
    (or greenlet); or by the server's, which accepts when the handler has been running for
    ``WEBSOCKETS_ACCEPT_DELAY``, and refuses after ``WEBSOCKETS_HANDSHAKE_TIMEOUT``.

    :param socket: the connection, still the server's.
    :param runtime: has the engine that an accepted connection goes to, and accepts nothing more once it
        is shutting down.
    :param executor: what the handler runs on.
    :param finished: replaces this object in the end.
    """

    def __init__(
        self,
        socket: ServerSocket,
        runtime: Runtime,
        executor: Executor,
        finished: FinishedHandshake,
    ) -> None:
        self.engine = runtime.engine
        #: Where the view runs that the URL was found to belong to.
        self.place: str | None = None
        self._runtime = runtime
        self._finished = finished
        self._ws: BaseWebSocket | None = None
        self._executor = executor
        self._socket: ServerSocket | None = socket
        self._config = runtime.config
        self._changed: Condition = executor.condition()
        self._request: Request | None = None
        self._pending_accept: tuple[BaseWebSocket, float] | None = None
        self._callbacks: Callbacks | None = None
        #: A refusal is in the numbers of the route already, or the view will see to that.
        self.is_counted = False
        #: Called with the websocket when it is accepted, in the thread that accepts.
        self.on_attached: Callable[[Any], None] | None = None
        #: A context as it was before the request: for the callbacks of a class view that do without it.
        self.context: Context | None = None
        #: What counts the websocket.
        self.admission: Admission | None = None
        #: The task of an async view has been started, and has not ended.
        self.task_runs = False
        #: True once the connection belongs to the engine; it never becomes False again.
        self.accepted = False
        #: True when nothing was decided within ``WEBSOCKETS_HANDSHAKE_TIMEOUT``: the client got 503.
        self.timed_out = False
        #: What accept() raises after the server's thread has answered with plain HTTP.
        self._too_late: ConnectionClosed | None = None
        self._outcome: Any = None
        #: The view has ended without having accepted, so nobody else may: nothing counts the websocket.
        self._view_ended = False
        #: What the call of accept() is known by that is answering with 101; it runs code of the
        #: application, without the lock.
        self._accepting: object = None
        #: Those of threads that wait until it has.
        self._others: list[Condition] = []
        #: The context of the view, for that code; and what it has made for the 101.
        self._request_context: Context | None = None
        self._answer: tuple[list[tuple[str, str]], Response | None] | None = None

    @property
    def refused(self) -> bool:
        """Was it answered with plain HTTP, so that there is no connection?"""
        return not self.accepted and (self._outcome is not None or self._view_ended)

    @property
    def status(self) -> int:
        """That of the answer which the client has got, once it is decided."""
        if self.accepted:
            return 101
        return int(self._outcome.status[:3]) if isinstance(self._outcome, PlainAnswer) else 500

    @property
    def environ(self) -> dict[str, Any] | None:
        """The WSGI environment, until the handshake is accepted: then the websocket has it."""
        return None if self._request is None else self._request.environ

    # ---- the handler's thread ----

    def handler_started(
        self, ws: BaseWebSocket, request: Request, callbacks: Callbacks | None = None
    ) -> None:
        """The accept delay counts from now on.

        :param callbacks: of a class view.
        """
        with self._changed:
            self._request = request
            self._request_context = copy_context()
            self._callbacks = callbacks
            self._pending_accept = (ws, time.monotonic() + self._config.accept_delay)
            if self._config.accept_delay < LOOK_INTERVAL:  # else wait() looks in time by itself
                self._changed.notify_all()

    @property
    def server_answered(self) -> bool:
        """Has the server's thread answered with plain HTTP, whatever the handler does after that?"""
        return self._too_late is not None

    def handler_ended(self) -> bool:
        """From now on the server's thread does not accept either.

        :returns: whether the handshake was accepted.
        """
        self.accept_no_more()
        self._wait_for_other()
        return self.accepted

    def accept_no_more(self) -> None:
        """The part of :meth:`handler_ended` that does not wait."""
        with self._changed:
            self._pending_accept = None

    def view_ended(self) -> None:
        """From now on no other thread accepts either, if the view has given its websocket to one."""
        with self._changed:
            self._view_ended = True
        self._wait_for_other()

    def hasten(self, ws: BaseWebSocket) -> bool:
        """Have the server's thread accept now, and not only when the accept delay is over.

        :returns: False when it is decided already.
        """
        with self._changed:
            if self.accepted or self._outcome is not None or self._pending_accept is None:
                return False
            self._pending_accept = (ws, 0.0)
            self._changed.notify_all()
            return True

    def accept(
        self,
        ws: BaseWebSocket,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
        after_delay: bool = False,
    ) -> bool:
        """Answer with 101 and give the connection to the engine; False if that has happened. While
        another thread does that, it is waited for.

        :param after_delay: the server's thread calls, because the accept delay is over: only if the
            handler has not ended meanwhile.
        :raises ServiceUnavailable: when the server is shutting down, or has no descriptors or memory.
        :raises ConnectionClosed: when the client has got that answer already.
        :raises RuntimeError: when the handshake was refused; or to code that this very call runs, or
            that has interrupted it, as the connection is not there yet.
        """
        if self.accepted:
            return False
        before = ACCEPTING.get()
        if before is self:
            raise RuntimeError(
                "the handshake is being answered by the code that was interrupted, or has called this"
            )
        # Another thread may raise an exception in this one between any two calls.
        mine = object()
        try:
            ACCEPTING.set(self)
            if not self._claim(mine, after_delay):
                return False
            self._accept(ws, subprotocol, headers)
        finally:
            if self._accepting is mine:
                self._accepting = None
            ACCEPTING.set(before)
            for condition in tuple(self._others):
                condition.notify_all()
        return True

    def _claim(self, mine: object, after_delay: bool) -> bool:
        """Be the one that answers. False: there is nothing to be answered."""
        while True:
            with self._changed:
                if self.accepted or (after_delay and self._pending_accept is None):
                    return False
                if not self.is_being_answered:
                    self._accepting = mine
                    return True
            self._wait_for_other()

    @property
    def is_being_answered(self) -> bool:
        """Is a thread answering with 101? Not one whose client has an answer, this one or another."""
        return self._accepting is not None and not self.accepted and self._outcome is None

    def _wait_for_other(self) -> None:
        """Wait until no other thread is answering."""
        if not self.is_being_answered:
            return
        condition = self._executor.condition()
        self._others.append(condition)
        try:
            with condition:
                while self.is_being_answered:
                    condition.wait(LOOK_INTERVAL)
        finally:
            self._others.remove(condition)

    def _open_request(self) -> tuple[Request, ServerSocket]:
        """The request, and its connection, if it may still be accepted; else the exceptions of
        :meth:`accept`."""
        if self._too_late is not None:
            raise self._too_late
        if self._runtime.shutting_down:
            raise shutting_down()
        request, socket = self._request, self._socket
        if self._view_ended or request is None or self._outcome is not None or socket is None:
            raise RuntimeError("the handshake was refused: there is no connection")
        return request, socket

    def _accept(
        self,
        ws: BaseWebSocket,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    ) -> None:
        with self._changed:
            request, _ = self._open_request()
        if subprotocol is None:
            subprotocol = choose_subprotocol(request, self._config.subprotocols)
        elif subprotocol not in requested_subprotocols(request):
            raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
        extensions, compression = choose_compression(request, self._config) or (None, None)
        fields = handshake_fields(headers)
        # The application's functions run, which may take their time, so no lock is held; but once only,
        # also if this is called again because what comes after it has failed.
        context = self._request_context
        assert context is not None  # as there is a request
        if self._answer is None:
            self._answer = context.copy().run(self._make_answer, fields)
        reply = accept_response(request, subprotocol, extensions, self._answer[0])
        try:
            with self._changed:
                _, socket = self._open_request()
                if socket.answered:  # which has agreed on nothing
                    subprotocol, reply, compression = None, b"", None
                self._attach(ws, socket, subprotocol, reply, compression)
        except (OSError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno == errno.ESHUTDOWN:
                raise shutting_down() from error
            if isinstance(error, OSError) and error.errno not in USED_UP:
                raise
            warn_seldom("used up", "a WebSocket handshake was refused: %r (said once a minute)", error)
            raise used_up() from error
        (_, response), self._answer = self._answer, None
        if response is not None:
            context.copy().run(answer_sent, self._runtime.app, response)

    def _make_answer(
        self, fields: list[tuple[str, str]]
    ) -> tuple[list[tuple[str, str]], Response | None]:
        ACCEPTING.set(self)
        return fields_of_101(self._runtime.app, fields)

    def _attach(
        self,
        ws: BaseWebSocket,
        socket: ServerSocket,
        subprotocol: str | None,
        reply: bytes,
        compression: DeflateParameters | None,
    ) -> None:
        callbacks = self._callbacks
        descriptor = None
        try:
            descriptor, received = socket.take_over()
            self.engine.attach(
                ws,
                descriptor,
                reply,
                received,
                compression=compression,
                notifier=self._executor.notifier,
                wait=self._executor.wait,
                on_message=None if callbacks is None else callbacks.on_message,
                callbacks=callbacks,
            )
            self._attached(ws, socket, subprotocol)
        except BaseException:
            if descriptor is None or descriptor.fileno() >= 0:  # the engine has not taken it
                socket.give_back(descriptor)
            else:  # another thread has raised this exception in this one
                self._attached(ws, socket, subprotocol)
            raise

    def _attached(self, ws: BaseWebSocket, socket: ServerSocket, subprotocol: str | None) -> None:
        """The connection is the engine's. A second call does what is left of an interrupted first."""
        self.accepted = True
        self._pending_accept = None
        self._ws = ws
        ws.subprotocol = subprotocol
        socket.handed_over()
        if self._request is not None:
            # The socket is not the server's any more, so the objects around it can be freed.
            for key in servers.SOCKET_KEYS:
                self._request.environ.pop(key, None)
            # So that the websocket does not lead to its own admission, which would not be freed then.
            self._request.environ[ENVIRON_KEY] = self._finished
            ws._environ = self._request.environ
            self._request = self._request_context = None
        if self.on_attached is not None:
            self.on_attached(ws)
        if self._runtime.shutting_down:  # close_all() has perhaps not seen this websocket
            ws.close(1001, CLOSE_REASON)
        self._changed.notify_all()

    def decide(self, outcome: Any) -> None:
        """The handshake is not accepted, unless it is decided already.

        :param outcome: what :meth:`wait` returns; or the exception that it raises.
        """
        with self._changed:
            if not self.accepted and self._outcome is None:
                self._outcome = outcome
                self._changed.notify_all()

    # ---- the server's thread ----

    def wait(self) -> Any:
        """Wait for the decision: what :meth:`decide` was given; None when the handshake was accepted.

        :raises BaseException: what the application raised instead of answering; or perhaps what was
            thrown in, by a time-out of gevent, say. The caller calls :meth:`server_answers` then.
        """
        waits = self._runtime.undecided.admit("", 0, 0, self)
        try:
            if self._runtime.shutting_down:  # shut_down() has perhaps not seen it
                self.shut_down()
            return self._wait()
        finally:
            assert isinstance(waits, Admission)  # as there is no limit
            waits.discard()

    def server_answers(self) -> None:
        """The server's thread has met an exception, with which it answers unless the handshake is
        accepted: it is not accepted any more."""
        answer = plain_answer(too_late())
        with self._changed:
            self._refuse(answer, ConnectionClosed(1006, "the server has answered already"))

    def shut_down(self) -> None:
        """Refuse the handshake with 503, unless it is decided: the server ends. From any thread."""
        answer = plain_answer(shutting_down())
        with self._changed:
            self._refuse(answer, ConnectionClosed(1001, CLOSE_REASON))

    def _refuse(self, answer: PlainAnswer, too_late: ConnectionClosed) -> None:
        """Answer with plain HTTP, though the handler is still running.

        :param too_late: what its accept() raises from then on.
        """
        if not self.accepted and self._outcome is None:
            self._outcome = answer
            self._too_late = too_late
            self._changed.notify_all()

    def _wait(self) -> Any:
        limit = self._config.handshake_timeout
        end = time.monotonic() + limit if limit else math.inf
        while (ws := self._wait_until(end)) is not None:
            try:
                self.accept(ws, None, None, after_delay=True)
            except BaseException as error:
                self._not_accepted(error)
        if self.accepted:
            return None
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _not_accepted(self, error: BaseException) -> None:
        """The accept delay was over, and the server's thread could not accept."""
        request, context = self._request, self._request_context
        if isinstance(error, ServiceUnavailable):
            answer = plain_answer(error)
        elif self.place != OWN_THREAD or request is None or context is None:
            self.decide(error)  # the view raises it
            return
        else:
            answer = context.copy().run(answer_instead, self._runtime.app, error, request.environ)
        with self._changed:  # the handler, which has done nothing wrong, is told in silence
            self._refuse(answer, ConnectionClosed(1006, "the handshake was answered with plain HTTP"))

    def _wait_until(self, end: float) -> BaseWebSocket | None:
        """Wait for the decision, or for the end of the accept delay.

        :param end: when it is refused; of ``time.monotonic()``.
        :returns: the websocket, which is to be accepted; None when it is decided.
        """
        with self._changed:
            while not self.accepted and self._outcome is None:
                now = time.monotonic()
                if now >= end:
                    self.timed_out = True
                    answer = plain_answer(too_late())
                    self._refuse(answer, ConnectionClosed(1006, "the handshake took too long"))
                    break
                # The delay of a handler that has not started yet cannot be over before that time.
                delay = max(self._config.accept_delay, LOOK_INTERVAL)
                ws, deadline = self._pending_accept or (None, now + delay)
                if ws is not None and now >= deadline:
                    if self._accepting is None:
                        return ws
                    deadline = now + LOOK_INTERVAL
                self._changed.wait(min(end, deadline) - now)
        return None

    def request_ended(self) -> None:
        """The request of a class or async view has ended in the server's thread: callbacks may run. A
        second call does what is left of an interrupted first."""
        # Those of whom they are have them.
        self.context = self.admission = None
        if self._callbacks is not None and self.accepted:
            self._callbacks.request_ended()
            self._executor.run_callbacks(self._callbacks)
        self._callbacks = None

    def discard_answer(self, start_response: Any) -> tuple[bytes, ...]:
        """Give the server the answer that it expects. What it writes of it is discarded, as the client
        has been answered.

        :returns: the body of that answer.
        """
        assert self._socket is not None  # until the server has written it
        return self._socket.discard_answer(start_response)

    def answer_written(self) -> None:
        """The server has written the discarded answer, and does not need its socket any more."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.answer_written()
        self._changed = NO_CONDITION  # a condition takes more memory than the rest of this object
        ws, self._ws = self._ws, None
        if ws is not None:
            ws._upgrade = self._finished
