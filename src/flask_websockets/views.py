"""Class views: a websocket whose messages call methods, instead of a function that waits for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar

from flask import has_request_context

from ._core import Admission
from .context import leave_context, report
from .errors import ConnectionClosed
from .runtime import Runtime
from .websocket import WebSocket

if TYPE_CHECKING:
    from flask.ctx import RequestContext  # deprecated in later versions of Flask

__all__ = ("ViewCallbacks", "WebSocketView", "check_view")


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

    ``request``, ``session``, ``g`` and ``current_app`` are those of the handshake in every method.

    An exception is logged and closes the websocket with 1011; but for :class:`ConnectionClosed`, which
    ends the method and nothing else, as a peer may be gone at any moment.
    """

    #: "request": the methods run in the request context of the handshake, which lives as long as the
    #: websocket. "app": after :meth:`on_open` it is given up, and with it most of the memory of an
    #: idle websocket; the methods then have an application context of their own each time, with
    #: ``current_app`` and an empty ``g``.
    context: ClassVar[str] = "request"

    def on_open(self, ws: WebSocket, **values: Any) -> Any:
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


def check_view(view: type[Any]) -> None:
    """Refuse at decoration what could not work at the first connection.

    :raises TypeError, ValueError: and why.
    """
    name = view.__name__
    if not issubclass(view, WebSocketView):
        raise TypeError(f"route() decorates a function or a WebSocketView, and {name} is neither")
    if view.on_message is WebSocketView.on_message:
        raise TypeError(f"{name} has no on_message()")
    for method in ("on_open", "on_message", "on_close"):
        if inspect.iscoroutinefunction(getattr(view, method)):
            raise TypeError(f"{name}.{method}() is async; the methods of a view are ordinary ones")
    if view.context not in ("request", "app"):
        raise ValueError(f'{name}.context must be "request" or "app", not {view.context!r}')
    try:
        inspect.signature(view).bind()
    except TypeError as error:
        raise TypeError(f"{name}() is made without arguments, and {error}") from None


class ViewCallbacks:
    """What the engine calls for one websocket with a class view: see ``Engine.attach``.

    :ivar context: the context that the callbacks run in; None when each makes an application context.
    """

    __slots__ = ("admission", "context", "on_message", "request_context", "runtime", "view", "ws")

    def __init__(
        self,
        view: WebSocketView,
        ws: WebSocket,
        runtime: Runtime,
        admission: Admission,
        context: Context,
    ) -> None:
        self.view = view
        self.ws = ws
        self.runtime = runtime
        #: What counts the websocket, until the last callback.
        self.admission = admission
        #: What leave_context() is given after the last callback.
        self.request_context: RequestContext | None = None
        if view.context == "request":
            self.context: Context | None = context
            self.on_message: Callable[[WebSocket, str | bytes], None] = view.on_message
        else:
            self.context = None
            self.on_message = self  # not a bound method, which would take memory

    def __call__(self, ws: WebSocket, data: str | bytes) -> None:
        with self.runtime.app.app_context():
            self.view.on_message(ws, data)

    def run_on_message(self, data: str | bytes) -> None:
        """Call on_message in its context, and failed() when it raises; for event loops."""
        run = self.context.run if self.context is not None else call
        run(self._message_or_failure, data)

    def _message_or_failure(self, data: str | bytes) -> None:
        try:
            self.on_message(self.ws, data)
        except BaseException as error:
            self.failed(error)

    def run_on_close(self, code: int, reason: bytes) -> None:
        """Call closed() in its context; for event loops."""
        run = self.context.run if self.context is not None else call
        run(self.closed, code, reason)

    def failed(self, error: BaseException) -> None:
        """A callback has raised. ConnectionClosed is no failure: the peer may be gone at any moment."""
        if isinstance(error, ConnectionClosed):
            return
        try:
            self.log(error)
        finally:
            self.ws.close(1011, "internal error")

    def log(self, error: BaseException) -> None:
        if has_request_context():
            report(self.runtime.app, error)
        else:
            name = type(self.view).__qualname__
            self.runtime.app.logger.error("Exception in the WebSocket view %s", name, exc_info=error)

    def closed(self, code: int, reason: bytes) -> None:
        """Call on_close, after which there is no more callback."""
        try:
            if self.context is None:
                with self.runtime.app.app_context():
                    self._closed(code, reason)
            else:
                self._closed(code, reason)
        finally:
            self.admission.discard()
            self.runtime.notify()

    def _closed(self, code: int, reason: bytes) -> None:
        try:
            self.view.on_close(self.ws, code, reason.decode("utf-8", "replace"))
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.log(error)
        finally:
            context, self.request_context = self.request_context, None
            if context is not None:
                leave_context(self.runtime.app, context)


def call(function: Any, *arguments: Any) -> None:
    function(*arguments)
