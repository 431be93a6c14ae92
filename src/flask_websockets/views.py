"""Class views: a websocket whose messages call methods, instead of a function that waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, ClassVar

from ._core import Admission
from .answer import warn_of_what_is_lost
from .context import carry_variables, is_interrupt, keep_pushed, report, request_context
from .errors import invalid_message, only_closed
from .records import ended, fault_reason
from .runtime import Runtime
from .unit import UnitOfWork, needs_calls
from .websocket import WebSocket

__all__ = ("ViewCallbacks", "WebSocketView")


class WebSocketView:
    """A view of one websocket, for a route::

        @websockets.route("/room/<name>")
        class Room(WebSocketView):
            def on_open(self, ws, name):
                websockets.subscribe(ws, f"room/{name}")

            def on_message(self, ws, data):
                websockets.publish(data, ws.channels)

    There is one instance for each websocket, so that its state may live in ``self``, and it waits for
    nothing: a hundred thousand need no thread each. The methods run one after the other, never two of
    one instance at once, in any thread. A method that blocks holds up no other websocket.

    Each call of a method is a unit of work: ``g`` is fresh, and the functions of
    ``teardown_appcontext`` run when it returns, in its thread, so that nothing, be it a database
    connection, is held while the websocket is idle. ``request`` and ``session`` are those of the
    handshake.

    An exception is logged and closes the websocket with 1011; but for :class:`ConnectionClosed` of this
    websocket, which ends the method and nothing else, as a peer may be gone at any moment.

    :cvar context: "request": ``request`` and ``session`` of the handshake live as long as the
        websocket. "app": after :meth:`on_open` they are given up, and with them most of the memory of
        an idle websocket; the methods then have ``current_app`` and ``g``.
    :cvar decorators: a list of decorators of the view function that Flask calls, as in
        :class:`flask.views.View`: the first is the innermost. They run before :meth:`on_open`, and what
        they refuse is refused as plain HTTP.
    """

    context: ClassVar[str] = "request"
    decorators: ClassVar[Sequence[Callable[..., Any]]] = ()

    # For type checkers the parameters that follow the websocket are any: those of the route.
    def on_open(self, ws: WebSocket, *args: Any, **values: Any) -> Any:
        """The handshake has come. It is not answered yet: ``abort`` and a returned response refuse it
        as plain HTTP; using the websocket, or returning None, accepts it.

        It runs in the server's own thread, so it should not take long.

        :param ws: the websocket.
        :param values: those of the URL.
        """

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        """A message has come.

        :param ws: the websocket.
        :param data: ``str`` of a text message, ``bytes`` of a binary one.
        """
        raise NotImplementedError

    def on_close(self, ws: WebSocket, code: int, reason: str) -> None:
        """The websocket is closing, or closed: once, after all that came before, and also after an
        error. Not when the handshake was refused.

        :param ws: the websocket; sending raises :class:`ConnectionClosed`.
        :param code: the close code, :rfc:`6455#section-7.4`; 1006 when the peer vanished.
        :param reason: the close reason, may be empty.
        """


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
            self.view.on_message(ws, data)
        except BaseException as caught:
            if not self.is_usual_end(caught):
                error = caught
            self.failed(caught)
            if is_interrupt(caught):
                raise
        finally:
            self.unit.end(error)
            del error  # it refers to this frame

    def unit_ended(self) -> None:
        """on_message has returned, and g was touched though nothing must be called."""
        self.unit.drop()

    def run_on_message(self, data: str | bytes) -> None:
        """Call on_message in its context, and failed() when it raises; for event loops."""
        self.context.run(self._message, data)

    def _message(self, data: str | bytes) -> None:
        try:
            self.on_message(self.ws, data)
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
            self.view.on_close(self.ws, code, reason.decode("utf-8", "replace"))
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
