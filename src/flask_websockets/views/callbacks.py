"""What is called for one websocket of a class view, and what is done around each call."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from .._core import Admission
from ..context import carry_variables, is_interrupt, keep_pushed, report, request_context
from ..errors import invalid_message, only_closed
from ..handshake.answer import warn_of_what_is_lost
from ..records import ended, fault_reason
from ..runtime import Runtime
from ..websocket import WebSocket
from .class_view import WebSocketView
from .returned import lost_value, method_name, reject_unrun_method
from .unit import UnitOfWork, needs_calls

__all__ = ("ViewCallbacks",)


class ViewCallbacks:
    """What the engine, or an event loop, calls for one websocket with a class view: see
    ``Engine.attach``. Each callback is a unit of work.

    :ivar context: the context (of :mod:`contextvars`) that the callbacks run in. There is one for all
        of them, and nothing of it is left to the thread.
    """

    __slots__ = ("_needs_calls", "admission", "context", "runtime", "unit", "view", "ws")

    def __init__(
        self,
        view: WebSocketView,
        ws: WebSocket,
        runtime: Runtime,
        admission: Admission,
        context: Context,
    ) -> None:
        """
        :param context: a copy of that of the request's call, without the request.
        """
        self.view = view
        self.ws = ws
        self.runtime = runtime
        #: What counts the websocket, until the last callback.
        self.admission = admission
        self.unit = UnitOfWork(runtime.app, ws)
        self._needs_calls = needs_calls(runtime.app)
        self.context = context
        context.run(self.unit.activate, None)

    def opened(self) -> None:
        """on_open has returned; to be called in the request's context. What on_open has set in it is
        there in the callbacks."""
        if self.view.context == "request":
            self.context = copy_context()
            self.context.run(self.unit.activate, request_context())
        else:
            carry_variables(self.context)

    def request_ended(self) -> None:
        """The request has ended in the server's thread, and the callbacks begin. A second call does no
        harm."""
        handshake = self.context.run(request_context) if self.view.context == "request" else None
        if handshake is not None:
            keep_pushed(handshake)

    @property
    def on_message(self) -> Callable[[WebSocket, str | bytes], None]:
        """What the engine calls, in :attr:`context`."""
        return self if self._needs_calls else self.view.on_message

    def __call__(self, ws: WebSocket, data: str | bytes) -> None:
        """A unit of work around on_message, if something must be called for it."""
        error = None
        try:
            self.unit.drop()
            self.unit.begin()
            on_message: Callable[..., Any] = self.view.on_message
            returned = on_message(ws, data)
            if returned is not None:
                self.check_returned("on_message", returned)
        except BaseException as caught:
            if not self.is_usual_end(caught):
                error = caught
            self.failed(caught)
            if is_interrupt(caught):
                raise
        finally:
            self.unit.end(error)
            del error  # it refers to this frame

    def check_returned(self, method: str, value: Any) -> None:
        """What a method has returned is nobody's.

        :raises TypeError: when nothing of it has run, as of a coroutine; in debug mode for any value.
        """
        if value is None:
            return
        reject_unrun_method(self.view, method, value)
        lost = lost_value(self.runtime.app, method_name(self.view, method), value)
        if lost is not None:
            raise lost

    def value_returned(self, value: Any) -> None:
        """on_message has returned something else than None."""
        try:
            self.check_returned("on_message", value)
        except TypeError as error:
            self.failed(error)

    def unit_ended(self) -> None:
        """on_message has returned, and g was touched though nothing must be called."""
        self.unit.drop()

    def run_on_message(self, data: str | bytes) -> None:
        """Call on_message in its context, and failed() when it raises; for event loops."""
        self.context.run(self._message, data)

    def _message(self, data: str | bytes) -> None:
        try:
            on_message: Callable[..., Any] = self.on_message
            returned = on_message(self.ws, data)
            if returned is not None:
                self.check_returned("on_message", returned)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.failed(error)
        finally:
            self.unit.drop()

    def run_on_close(self, code: int, reason: bytes) -> None:
        """Call closed() in its context; for event loops."""
        self.context.run(self.closed, code, reason)

    def is_usual_end(self, error: BaseException) -> bool:
        """Is this the ConnectionClosed of this websocket, whose peer may be gone at any moment? That of
        another one is a failure of the method."""
        return only_closed(error) and self.ws.closed

    def failed(self, error: BaseException) -> None:
        """A callback has raised."""
        if self.is_usual_end(error):
            return
        invalid = invalid_message(error, self.ws)
        if invalid is not None:  # the peer's fault
            invalid.close(self.ws)
            return
        try:
            self.log(error)
        finally:
            self.ws.close(1011, fault_reason(self.runtime.app.debug, error))

    def log(self, error: BaseException) -> None:
        report(self.runtime.app, error, f"the WebSocket view {type(self.view).__qualname__}")

    def closed(self, code: int, reason: bytes) -> None:
        """Call on_close, after which there is no more callback."""
        try:
            self._closed(code, reason)
        finally:
            try:
                ended(self.ws)
            finally:
                self.admission.discard()
                self.runtime.notify()

    def _closed(self, code: int, reason: bytes) -> None:
        error = None
        try:
            self.unit.drop()
            if self._needs_calls:
                self.unit.begin()
            on_close: Callable[..., Any] = self.view.on_close
            returned = on_close(self.ws, code, reason.decode("utf-8", "replace"))
            self.check_returned("on_close", returned)
        except BaseException as caught:
            if not self.is_usual_end(caught):
                error = caught
                self.log(caught)
            if is_interrupt(caught):
                raise
        finally:
            if self._needs_calls:
                self.unit.end(error)
            else:
                self.unit.drop()
            del error  # it refers to this frame
            warn_of_what_is_lost(self.runtime.app)
