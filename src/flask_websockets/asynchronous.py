"""Views that are ``async def`` functions."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from typing import Any

from . import msgpack
from ._core import Loan
from .answer import warn_of_lost_session, warn_of_lost_value
from .context import fail
from .errors import ConnectionClosed, only_closed
from .handlers import asynchronous
from .runtime import Runtime
from .unit import UnitOfWork
from .upgrade import Upgrade
from .websocket import BaseWebSocket

__all__ = ("AsyncHandler", "AsyncWebSocket", "Returned")


class AsyncWebSocket(BaseWebSocket):
    """A WebSocket connection, given to an ``async def`` handler: what waits in :class:`WebSocket` is
    awaited here. To be used in the handler's event loop; ``close`` and the attributes from anywhere.

    Awaiting ends with :class:`ConnectionClosed` once the connection is closed, and the handler's task
    is cancelled if it is still at something else ``WEBSOCKETS_CLOSE_TIMEOUT`` later.
    """

    __slots__ = ("_runtime", "_task")

    _task: asyncio.Task[None]
    _runtime: Runtime

    @property
    def _cancel_after(self) -> float:
        return self._runtime.config.close_timeout

    @property
    def _server_ends(self) -> bool:
        return self._runtime.shutting_down

    async def send(self, data: Any) -> None:
        """Send one message: a str as a text message, a bytes-like object as a binary one.

        Waits while more than ``WEBSOCKETS_SEND_BUFFER`` bytes are queued for this peer.

        :raises TypeError: for any other type.
        :raises ConnectionClosed: when the connection is closing or closed.
        """
        while (sent := self._offer(data)) is not True:
            if sent is not False:
                return await self._wait_for_loan(sent)
            await asynchronous.event_loop().wait_for_change(self, None)

    async def _wait_for_loan(self, loan: Loan) -> None:
        """Wait until the bytes of a large message are sent. When the task is cancelled before, the rest
        is sent all the same, because a frame of which a part was sent must be finished."""
        try:
            while not loan.is_over():
                await asynchronous.event_loop().wait_for_change(self, None)
        finally:
            loan.end()

    async def send_text(self, data: str) -> None:
        """Send a str as one text message; else as :meth:`send`."""
        if not isinstance(data, str):
            raise TypeError(f"send_text() takes str, not {type(data).__name__}")
        await self.send(data)

    async def send_bytes(self, data: Any) -> None:
        """Send a bytes-like object, or the UTF-8 of a str, as one binary message; else as
        :meth:`send`."""
        await self.send(data.encode() if isinstance(data, str) else data)

    async def send_json(self, data: Any) -> None:
        """Send a value as JSON in a text message, encoded by the app's JSON provider."""
        await self.send(self._json.dumps(data))

    async def send_msgpack(self, data: Any) -> None:
        """Send a value as MessagePack in a binary message; needs ``flask-websockets[msgpack]``."""
        await self.send(msgpack.encode(data))

    async def receive(self, timeout: float | None = None) -> Any:
        """Receive one message.

        :param timeout: seconds; None waits for ever.
        :returns: ``str`` of a text message, ``bytes`` of a binary one; None when the time is over.
        :raises ConnectionClosed: once the connection is closed and all messages are taken.
        """
        if (data := self._next()) is not None:
            return data
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            # Also when no time is left, so that a loop of receive(0) lets other tasks run. _next() also
            # returns None to let others run first, so there may be a message after that.
            await asynchronous.event_loop().wait_for_change(self, left)
            if (data := self._next()) is not None or left == 0:
                return data

    async def receive_json(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as JSON by the app's JSON provider; as :meth:`receive`."""
        data = await self.receive(timeout)
        return None if data is None else self._load_json(data)

    async def receive_msgpack(self, timeout: float | None = None) -> Any:
        """Receive a message and decode it as MessagePack; as :meth:`receive`."""
        data = await self.receive(timeout)
        return (
            None if data is None else msgpack.decode(data.encode() if isinstance(data, str) else data)
        )

    async def ping(self, data: Any = b"") -> float:
        """Send a ping and wait for its pong.

        :param data: at most 125 bytes; some of our own by default.
        :returns: the round trip, seconds.
        :raises TimeoutError: when it does not come within ``WEBSOCKETS_PING_TIMEOUT``.
        """
        ping = functools.partial(self._ping, data)
        return await asynchronous.event_loop().on_a_thread(ping, "ws ping")

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The messages, until the connection is closed."""
        try:
            while True:
                yield await self.receive()
        except ConnectionClosed:
            return

    def iter_data(self) -> AsyncIterator[str | bytes]:
        """The same as iterating over the websocket."""
        return self.__aiter__()

    async def iter_text(self) -> AsyncIterator[str]:
        """The messages as ``str``."""
        async for data in self:
            yield data if isinstance(data, str) else data.decode()

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """The messages as ``bytes``."""
        async for data in self:
            yield data if isinstance(data, bytes) else data.encode()

    async def iter_json(self) -> AsyncIterator[Any]:
        """The messages decoded as JSON."""
        async for data in self:
            yield self._load_json(data)


class Returned:
    """What a handler has returned without having accepted the handshake."""

    def __init__(self, value: Any) -> None:
        self.value = value


class AsyncHandler:
    """One handler: a task of the event loop. Its request ends in the server's thread once the handshake
    is answered; the handler is a unit of work of its own, whose teardown functions run in the event
    loop's thread when it ends.

    :param start: makes the coroutine.
    :param ws: its websocket.
    :param unit: the application context of the handler.
    :param context: what the handler runs in: a copy of that of the request.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        ws: AsyncWebSocket,
        upgrade: Upgrade,
        runtime: Runtime,
        unit: UnitOfWork,
        context: Context,
    ) -> None:
        assert upgrade.admission is not None
        self._start = start
        self.ws = ws
        self._upgrade = upgrade
        self._runtime = runtime
        self._app = runtime.app
        self._unit = unit
        self._context = context
        self._admission = upgrade.admission
        self._loop = asynchronous.event_loop()

    # ---- the server's thread ----

    def start(self) -> Any:
        """Start the handler, and wait until it accepts, or ends.

        :returns: None when it has accepted; a :class:`Returned` when it has returned something instead;
            a :class:`PlainAnswer` when it was refused for another reason.
        :raises BaseException: what it has raised instead.
        """
        self._upgrade.on_attached = self._loop.watch
        try:
            self._loop.call(self._make_task, context=self._context)
            return self._upgrade.wait()
        except BaseException:
            self._upgrade.server_answers()
            raise

    # ---- the event loop's thread ----

    def _make_task(self) -> None:
        self.ws._runtime = self._runtime
        self.ws._task = task = self._loop.loop.create_task(self._run())
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:  # of the report, say
            self._app.logger.error("Exception after a WebSocket handshake", exc_info=error)
        self._admission.discard()
        self._runtime.notify()

    async def _run(self) -> None:
        error = None
        try:
            error = await self._handle()
        finally:
            self._loop.unwatch(self.ws)
            self._unit.end(error)
            del error  # it refers to this frame
            warn_of_lost_session(self._app)

    async def _handle(self) -> BaseException | None:
        """Run the handler, and do what its end asks for.

        :returns: an exception that it has raised after the handshake was accepted, which is reported.
        """
        ws, upgrade = self.ws, self._upgrade
        try:
            self._unit.begin()
            result = await self._start()
        except asyncio.CancelledError:
            if not upgrade.handler_ended():
                upgrade.decide(RuntimeError("cancelled"))
            else:
                ws.close(1000)
        except BaseException as error:
            if not upgrade.handler_ended():
                upgrade.decide(error)  # Flask answers in plain HTTP
            elif only_closed(error) and ws.closed:  # else it was another websocket's
                ws.close(1000)
            else:
                fail(self._app, ws, error)
                return error
        else:
            if upgrade.handler_ended():
                ws.close(1000)
                warn_of_lost_value(self._app, self._start, result)
            elif result is None:
                self._accept_and_close()
            else:
                upgrade.decide(Returned(result))
        return None

    def _accept_and_close(self) -> None:
        try:
            self._upgrade.accept(self.ws, None, None)
            self.ws.close(1000)
        except Exception as error:
            self._upgrade.decide(error)
