"""One WebSocket as an ``async def`` handler sees it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
import weakref
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

from . import msgpack
from ._core import Loan
from .errors import ConnectionClosed
from .handlers.asynchronous import AsyncioLoop
from .handlers.failures import HANDLER
from .handlers.turns import Turns, resolve
from .interfaces import WebSocketOwner
from .websocket import BaseWebSocket

__all__ = ("AsyncMessages", "AsyncWebSocket")

T = TypeVar("T")


class AsyncWebSocket(BaseWebSocket):
    """A WebSocket connection, given to an ``async def`` handler: what waits in :class:`WebSocket` is
    awaited here. The handshake is answered at the first use, see :class:`BaseWebSocket`.

    Any number of tasks may receive and send, and each gets its turn: who has called first receives, or
    sends, first. Cancelling one that waits loses no message, and sends none. All of that happens in the
    event loop of the handler; ``close`` and the attributes may be used from any thread.
    """

    __slots__ = (
        "_answers",
        "_closes_itself",
        "_is_watched",
        "_lent",
        "_loop",
        "_owner",
        "_receivers",
        "_senders",
        "_told",
    )

    _loop: AsyncioLoop
    _owner: WebSocketOwner

    def _begin(self, loop: AsyncioLoop, owner: WebSocketOwner) -> None:
        """Called once, before the handler gets it.

        :param owner: its handler.
        """
        self._loop = loop
        self._owner = owner
        self._is_watched = False
        self._closes_itself = False
        self._receivers = Turns()
        self._senders = Turns()
        #: The tasks that were told that it has closed.
        self._told: Collection[asyncio.Task[Any]] = ()
        #: The tasks that wait until large messages are sent, whose turn to send has come.
        self._lent: list[asyncio.Future[bool]] = []
        #: Those of tasks that wait until the handshake is answered.
        self._answers: list[asyncio.Future[bool]] = []

    # ---- the handshake ----

    async def _use(self) -> None:
        """Have the handshake answered, if it is not. The server's thread does that, which waits for it:
        the session and the after_request functions are used where the request's other functions are,
        and hold up no other coroutine."""
        loop = self._running_loop()
        waits = self._upgrade.hasten(self)
        if not waits and not self._answers:
            return  # it is answered; if it was refused, what is called next says so
        place: asyncio.Future[bool] = loop.create_future()
        if not waits:  # behind those that have waited, who are about to go on
            loop.call_soon(resolve, place, False)
        self._answers.append(place)
        try:
            await place
        finally:
            self._answers.remove(place)

    def _handshake_answered(self) -> None:
        """In the event loop's thread."""
        for place in self._answers:
            resolve(place, False)

    # ---- changes ----

    def _watch(self) -> None:
        """Have changes told from now on; in the event loop's thread, once it is accepted."""
        if not self._is_watched:
            self._is_watched = True
            self._loop.watch(self)
            self._handshake_answered()
            self._changed()  # which was perhaps told before

    def _closed_error(self, code: int, reason: str, /) -> ConnectionClosed:
        with contextlib.suppress(RuntimeError):  # from a thread without an event loop
            if (task := asyncio.current_task()) is not None:
                self._told = weakref.WeakSet((*self._told, task))
        return super()._closed_error(code, reason)

    def _unwatch(self) -> None:
        """The handler has ended, or after that another task waits no more: if that was the last
        use, let go of it."""
        if not (self._receivers or self._senders or self._lent):
            self._is_watched = False
            self._loop.unwatch(self)

    def _changed(self) -> None:
        """A message has come, there is room to send, what was lent is sent, or it has closed."""
        if self._receivers:
            self._receivers.wake()
        if self._senders:
            self._senders.wake()
        if self._lent:
            for place in self._lent:
                resolve(place, False)
        if self.closed:
            self._owner.websocket_closed()

    def _join(self, turns: Turns) -> asyncio.Future[bool]:
        """The last place among those that wait.

        :raises RuntimeError: in another event loop, which nobody would wake.
        """
        loop = self._running_loop()
        if not self._is_watched:
            self._watch()
        return turns.join(loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop.loop
        if asyncio.get_running_loop() is not loop:
            raise RuntimeError("an AsyncWebSocket is awaited in its handler's event loop, and no other")
        return loop

    # ---- sending ----

    async def send(self, data: Any) -> None:
        """Send one message: a str as a text message, a bytes-like object as a binary one.

        Waits while more than ``WEBSOCKETS_SEND_BUFFER`` bytes are queued for this peer, and for those
        that have called it before.

        :raises TypeError: for any other type.
        :raises ConnectionClosed: when the connection is closing or closed.
        """
        if self._answers or not self._is_watched:
            await self._use()
        sent = False if self._senders else self._offer(data)
        if sent is False:
            sent = await self._send_in_turn(data)
        if sent is not True:
            await self._wait_for_loan(sent)

    async def _send_in_turn(self, data: Any) -> bool | Loan:
        turns = self._senders
        place = self._join(turns)
        try:
            while True:
                await place
                if (sent := self._offer(data)) is not False:
                    return sent
                place = turns.stay(place, self._loop.loop)
        finally:
            turns.leave(place)
            if self._owner.has_ended:
                self._unwatch()

    async def _wait_for_loan(self, loan: Loan | bool) -> None:
        """Wait until the bytes of a large message are sent. When the task is cancelled before, the rest
        is sent all the same, because a frame of which a part was sent must be finished."""
        assert isinstance(loan, Loan)
        lent = self._lent
        try:
            while not loan.is_over():
                place: asyncio.Future[bool] = self._loop.loop.create_future()
                lent.append(place)
                try:
                    await place
                finally:
                    lent.remove(place)
        finally:
            loan.end()
            if self._owner.has_ended:
                self._unwatch()

    async def send_text(self, data: str) -> None:
        """Send a str as one text message; else as :meth:`send`."""
        if not isinstance(data, str):
            raise TypeError(f"send_text() takes str, not {type(data).__name__}")
        await self.send(data)

    async def send_bytes(self, data: Any) -> None:
        """Send a bytes-like object, or the UTF-8 of a str, as one binary message; else as
        :meth:`send`."""
        await self.send(data.encode() if isinstance(data, str) else data)

    async def send_json(self, json_payload: Any) -> None:
        """Send a value as JSON in a text message, encoded by the app's JSON provider."""
        await self.send(self._json.dumps(json_payload))

    async def send_msgpack(self, msgspec_payload: Any) -> None:
        """Send a value as MessagePack in a binary message."""
        await self.send(msgpack.encode(msgspec_payload))

    # ---- receiving ----

    async def receive(self, timeout: float | None = None) -> Any:
        """Receive one message.

        :param timeout: seconds; None waits for ever.
        :returns: ``str`` of a text message, ``bytes`` of a binary one; None when the time is over.
        :raises ConnectionClosed: once the connection is closed and all messages are taken.
        :raises TypeError, ValueError: for a bad timeout.
        """
        seconds = None if timeout is None else check_seconds(timeout)
        if self._answers or not self._is_watched:
            await self._use()
        if seconds is not None:
            return await self._receive_in_time(seconds)
        turns = self._receivers
        if not turns and (data := self._next()) is not None:
            return data
        place = self._join(turns)
        try:
            while True:
                await place
                if (data := self._next()) is not None:
                    return data
                place = turns.stay(place, self._loop.loop)
        finally:
            turns.leave(place)
            if self._owner.has_ended:
                self._unwatch()

    async def _receive_in_time(self, timeout: float) -> Any:
        turns, loop = self._receivers, self._loop.loop
        if not turns and (data := self._next()) is not None:
            return data
        deadline = time.monotonic() + timeout
        place = self._join(turns)
        try:
            while True:
                # Also when no time is left, so that a loop of receive(0) lets other tasks run. Not
                # asyncio.wait_for(), which makes a task for each message.
                left = min(max(deadline - time.monotonic(), 0.0), TIMER_MAX)
                timer = loop.call_later(left, resolve, place, True)
                try:
                    is_late = await place
                finally:
                    timer.cancel()
                # _next() also returns None to let others run, so there may be a message after that.
                data = self._next() if turns[0] is place else None
                if data is not None or (is_late and time.monotonic() >= deadline - CLOCK_STEP):
                    return data
                place = turns.stay(place, loop)
        finally:
            turns.leave(place)
            if self._owner.has_ended:
                self._unwatch()

    async def receive_json(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as JSON by the app's JSON provider; as :meth:`receive`."""
        data = await self.receive(timeout)
        return None if data is None else self._load_json(data)

    async def receive_msgpack(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as MessagePack; as :meth:`receive`."""
        data = await self.receive(timeout)
        return None if data is None else self.decode_msgpack(data)

    def __aiter__(self) -> AsyncMessages[str | bytes]:
        """The messages, until the connection is closed. The loop may be left, and another begun."""
        return AsyncMessages(self, None, None)

    def iter_data(self) -> AsyncMessages[str | bytes]:
        """The same as iterating over the websocket."""
        return AsyncMessages(self, None, None)

    def iter_text(self) -> AsyncMessages[str]:
        """As :meth:`iter_data`, text messages only; binary ones are passed over."""
        return AsyncMessages(self, str, None)

    def iter_bytes(self) -> AsyncMessages[bytes]:
        """As :meth:`iter_data`, binary messages only; text ones are passed over."""
        return AsyncMessages(self, bytes, None)

    def iter_json(self) -> AsyncMessages[Any]:
        """As :meth:`iter_data`, each message decoded by the app's JSON provider.

        :raises InvalidMessage: a ValueError, for one that is not JSON; the iterator goes on with the
            next one after that.
        """
        return AsyncMessages(self, None, self._load_json)

    # ---- control frames ----

    def close(self, code: int = 1000, reason: str | None = "") -> None:
        """Start the closing handshake; the engine completes it, so this does not wait. From any thread.

        A handler that closes its own websocket goes on. When somebody else does, it has
        ``WEBSOCKETS_CLOSE_TIMEOUT`` to end, as when the peer leaves.

        :param code: 1000 to 1003, 1007 to 1014 or 3000 to 4999, :rfc:`6455#section-7.4`.
        :param reason: at most 123 bytes in UTF-8.
        :raises ValueError: for others, and then nothing is sent.
        """
        was_open = not self.closed
        super().close(code, reason)
        if was_open and HANDLER.get() is self._owner:
            self._closes_itself = True

    async def ping(self, data: Any = b"") -> float:
        """Send a ping and wait for its pong.

        :param data: at most 125 bytes; some of our own by default.
        :returns: the round trip, seconds.
        :raises TimeoutError: when it does not come within ``WEBSOCKETS_PING_TIMEOUT``.
        """
        return await self._loop.on_a_thread(functools.partial(self._ping, data), "ws ping")


#: Seconds: a timer of the event loop may fire so much too early.
CLOCK_STEP = 0.002
#: The longest time that a timer of the event loop takes, seconds: uvloop counts milliseconds.
TIMER_MAX = 86_400.0


def check_seconds(value: Any) -> float:
    """The seconds of a time-out, with the errors that ``WebSocket.receive`` raises."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        name = type(value).__name__
        raise TypeError(f"timeout must be a number of seconds or None, not {name}") from None
    if isinstance(value, str):
        raise TypeError("timeout must be a number of seconds or None, not str")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout must be at least 0 seconds, not {value!r}")
    return seconds


class AsyncMessages(Generic[T]):
    """Iterates over the messages of a websocket.

    :param kind: the type of the messages to give, str or bytes; None gives both.
    :param decode: what is to be given instead of a message; None: the message.
    """

    __slots__ = ("_decode", "_kind", "_ws")

    def __init__(
        self, ws: AsyncWebSocket, kind: type[Any] | None, decode: Callable[[Any], Any] | None
    ) -> None:
        self._ws = ws
        self._kind = kind
        self._decode = decode

    def __aiter__(self) -> AsyncMessages[T]:
        return self

    async def __anext__(self) -> T:
        kind = self._kind
        try:
            data = await self._ws.receive()
            while kind is not None and not isinstance(data, kind):
                data = await self._ws.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None
        value: T = data if self._decode is None else self._decode(data)
        return value
