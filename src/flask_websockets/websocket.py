"""One WebSocket as a handler sees it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from flask.json.provider import JSONProvider
from werkzeug.local import LocalProxy

from . import _core, msgpack
from .errors import ConnectionClosed, InvalidMessage
from .interfaces import Callbacks, Handshake
from .older import AbstractSocket, no_accept

__all__ = ("AbstractSocket", "BaseWebSocket", "WebSocket", "WebSocketState")


class WebSocketState(enum.IntEnum):
    """The states of :rfc:`6455#section-4.1`, as in the browser's ``WebSocket.readyState``. A handler
    meets two of them, see :attr:`WebSocket.state`; ``repr()`` of a websocket names all."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3
    #: The names that these states had in flask-websockets 0.1.
    CONNECTED = 1
    DISCONNECTED = 3


class BaseWebSocket(_core.BaseWebSocket):
    """What :class:`WebSocket` and :class:`AsyncWebSocket` have in common: all but sending, receiving
    and :meth:`ping`, which wait in the one and are awaited in the other.

    The handshake is answered at the first send, receive, subscribe or :meth:`accept`, so that a
    handler may still refuse it with ``abort`` or by returning a response.

    Attributes of the application's own may be set on it.
    """

    __slots__ = {
        # The application's own attributes. Python 3.11 remembers where the methods of an object are if
        # it keeps them in this way, but not if the core does: 2 % of an echo with 16 in flight.
        "__dict__": None,
        "_environ": None,
        "_json": None,
        "_upgrade": None,
        "remote_addr": "The address of the peer as ``request.remote_addr`` gave it, ``str`` or None.",
        "subprotocol": "The subprotocol agreed on, ``str``, or None; None before the handshake is "
        "answered, see :meth:`accept`.",
    }

    def __init__(self, upgrade: Handshake, remote_addr: str | None, json: JSONProvider) -> None:
        self._upgrade = upgrade
        self._json = json
        #: From the handshake on, and only while the request lives as well: it takes more memory than
        #: an idle websocket.
        self._environ: dict[str, Any] | None = None
        self.remote_addr = remote_addr
        self.subprotocol: str | None = None

    def __repr__(self) -> str:
        state = WebSocketState(self._state).name
        return f"<{type(self).__name__} {self.id} {self.remote_addr} {state}>"

    @property
    def user(self) -> Any:
        """Whose connection it is, for the application to set: any object, whose ``str`` is in the
        record of the connection's end. None at first. Of a proxy, such as flask-login's
        ``current_user``, the object that it stands for is kept."""
        return super().user

    @user.setter
    def user(self, value: Any) -> None:
        if isinstance(value, LocalProxy):
            value = value._get_current_object()
        _core.BaseWebSocket.user.__set__(self, value)

    # ---- the handshake ----

    def accept(
        self,
        subprotocol: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        """Answer the handshake, :rfc:`6455#section-4.2.2`. Happens by itself at the first use.

        :param subprotocol: one of those that the client offered; None takes the first of the
            client's that is in ``WEBSOCKETS_SUBPROTOCOLS``, or none.
        :param headers: further header fields of the answer, names and values ``str``.
        :raises ValueError: for a subprotocol that the client did not offer, or a bad header; the
            handshake is not answered then.
        :raises RuntimeError: when it is answered already.
        """
        if not isinstance(self, BaseWebSocket):
            raise no_accept(self)
        if not self._upgrade.accept(self, subprotocol, headers):
            raise RuntimeError("the handshake is answered already")

    def _answer_handshake(self) -> None:
        """Called by the core when a method needs the connection and the handshake is not answered."""
        self._upgrade.accept(self, None, None)

    # ---- what else the core calls ----

    def _closed_error(self, code: int, reason: str, /) -> ConnectionClosed:
        return ConnectionClosed(code, reason)

    def _load_json(self, data: str | bytes, /) -> Any:
        return self.decode_json(data)

    def _callback_failed(self, callbacks: Callbacks, error: BaseException, /) -> None:
        callbacks.failed(error)

    def _callbacks_ended(self, callbacks: Callbacks, code: int, reason: bytes, /) -> None:
        callbacks.closed(code, reason)

    def _unit_ended(self, callbacks: Callbacks, /) -> None:
        callbacks.unit_ended()

    def _value_returned(self, callbacks: Callbacks, value: Any, /) -> None:
        callbacks.value_returned(value)

    # ---- where it stands ----

    @property
    def connected(self) -> bool:
        """May it be used? True until the connection is closing or closed; before the handshake is
        answered as well, as the first use answers it, unless it was refused."""
        state = self._state
        return state == WebSocketState.OPEN or (
            state == WebSocketState.CONNECTING and not self._upgrade.refused
        )

    @property
    def closed(self) -> bool:
        """True once the connection is closing or closed, or was refused: nothing more can be sent."""
        return not self.connected

    @property
    def state(self) -> WebSocketState:
        """``OPEN`` while it is :attr:`connected`, also before the handshake is answered, so that
        ``while ws.state == WebSocketState.OPEN`` may begin a handler; ``CLOSED`` once it is
        :attr:`closed`, whether the peer has answered our close frame or not."""
        return WebSocketState.OPEN if self.connected else WebSocketState.CLOSED

    @property
    def environ(self) -> dict[str, Any]:
        """The WSGI environment of the handshake, :pep:`3333`: that of ``request``.

        :raises AttributeError: after ``on_open`` in a class view with ``context = "app"``, which gives
            the request up.
        """
        environ = self._environ or self._upgrade.environ
        if environ is None:
            raise AttributeError(
                "ws.environ has ended with the request, after on_open: this view has "
                'context = "app". Keep what you need of it in on_open'
            )
        return environ

    @property
    def channels(self) -> list[str]:
        """The names of the channels that it is subscribed to, or was when it closed."""
        return self._upgrade.engine.channels(self)

    # ---- decoding ----

    def decode_json(self, data: str | bytes) -> Any:
        """Decode a message that has come as JSON, for ``on_message`` of a class view; as
        :meth:`receive_json`.

        :param data: the message.
        :raises InvalidMessage: when it is not JSON.
        """
        try:
            return self._json.loads(data)
        except (ValueError, RecursionError) as error:  # the latter when it is nested too deep
            raise InvalidMessage("JSON", data, self) from error

    def decode_msgpack(self, data: str | bytes) -> Any:
        """Decode a message that has come as MessagePack; as :meth:`decode_json`."""
        try:
            return msgpack.decode(data.encode() if isinstance(data, str) else data)
        except (ValueError, RecursionError) as error:
            raise InvalidMessage("MessagePack", data, self) from error


class WebSocket(BaseWebSocket, _core.WebSocket):
    """A WebSocket connection, given to the handler of a route. Every method may be called from any
    thread. The handshake is answered at the first use, see :class:`BaseWebSocket`.
    """

    __slots__ = ()

    # ---- JSON and MessagePack ----

    def send_json(self, json_payload: Any) -> None:
        """Send a value as JSON in a text message, encoded by the app's JSON provider.

        :param json_payload: what the provider can encode; its TypeError otherwise, and nothing is sent.
        :raises ConnectionClosed: when the connection is closing or closed.
        """
        self.send_text(self._json.dumps(json_payload))

    def receive_json(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as JSON by the app's JSON provider.

        :param timeout: seconds, as for :meth:`receive`; None is returned when it is over.
        :raises InvalidMessage: when the message is not JSON.
        :raises ConnectionClosed: once the connection is closed and drained.
        """
        data = self.receive(timeout)
        return None if data is None else self._load_json(data)

    def send_msgpack(self, msgspec_payload: Any) -> None:
        """Send a value as MessagePack in a binary message.

        :param msgspec_payload: what msgspec can encode; its TypeError otherwise, and nothing is sent.
        :raises ConnectionClosed: when the connection is closing or closed.
        """
        self.send_bytes(msgpack.encode(msgspec_payload))

    def receive_msgpack(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as MessagePack.

        :param timeout: seconds, as for :meth:`receive`; None is returned when it is over.
        :raises InvalidMessage: when the message is not MessagePack.
        :raises ConnectionClosed: once the connection is closed and drained.
        """
        data = self.receive(timeout)
        return None if data is None else self.decode_msgpack(data)
