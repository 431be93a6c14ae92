"""Class views: a websocket whose messages call methods, instead of a function that waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..websocket import WebSocket

__all__ = ("WebSocketView",)


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
