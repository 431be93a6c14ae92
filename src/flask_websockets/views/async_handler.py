"""Views that are ``async def`` functions: the life of one handler."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException, InternalServerError

from ..async_websocket import AsyncWebSocket
from ..context import fail
from ..errors import only_closed
from ..handlers import asynchronous
from ..handlers.failures import HANDLER, claim, log
from ..handlers.waits import is_or_waits_for, merely_waits
from ..handshake.answer import warn_of_what_is_lost
from ..handshake.upgrade import Upgrade
from ..records import ended
from ..runtime import Runtime
from .returned import handler_name, lost_value
from .unit import UnitOfWork

__all__ = ("AsyncHandler", "AsyncWebSocket", "Returned")

#: How often at most a handler is cancelled that goes on all the same, seconds.
CANCEL_EVERY = 1.0

#: At the server's stop, the part of ``WEBSOCKETS_CLOSE_TIMEOUT`` that is left when a handler is
#: cancelled that knows of the end of its websocket, and has not ended.
LAST_PART = 1 / 16

#: Seconds: how often a handler that has ended looks whether the handshake is answered meanwhile.
SETTLE_INTERVAL = 0.01


class Returned:
    """What a handler has returned without having accepted the handshake."""

    def __init__(self, value: Any) -> None:
        self.value = value


class AsyncHandler:
    """One handler: a task of the event loop. Its request ends in the server's thread once the handshake
    is answered; the handler is a unit of work of its own, whose teardown functions run in the event
    loop's thread when it ends.

    Its end, if it does not come by itself: once its websocket has closed, other than by its own
    ``close()``, and it has taken nothing of what had arrived for ``WEBSOCKETS_CLOSE_TIMEOUT``, it is
    cancelled; after half of that if it merely waits for other tasks, at a queue or an event. When the
    server stops, half of that time is its own, and the other half is that of its ``finally`` blocks.

    :param start: makes the coroutine.
    :param ws: its websocket.
    :param unit: the application context of the handler.
    :param context: what the handler runs in: a copy of that of the request.
    """

    __slots__ = (
        "_admission",
        "_context",
        "_is_cancelled",
        "_is_closing",
        "_loop",
        "_server_ends",
        "_start",
        "_timer",
        "_unit",
        "_untaken",
        "_upgrade",
        "_ws",
        "endpoint",
        "has_ended",
        "runtime",
        "task",
    )

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
        self._ws = ws
        self._upgrade = upgrade
        self._unit = unit
        self._context = context
        self._admission = upgrade.admission
        self._loop = asynchronous.event_loop()
        self.runtime = runtime
        self.endpoint = request.endpoint or ""
        self.task: asyncio.Task[None] | None = None
        #: The coroutine has ended.
        self.has_ended = False
        self._is_closing = self._server_ends = self._is_cancelled = False
        #: How many messages had arrived and were not taken when it was looked last.
        self._untaken = 0
        self._timer: asyncio.TimerHandle | None = None

    # ---- the server's thread ----

    def start(self) -> Any:
        """Start the handler, and wait until it accepts, or ends.

        :returns: None when it has accepted; a :class:`Returned` when it has returned something instead;
            a :class:`PlainAnswer` when it was refused for another reason.
        :raises BaseException: what it has raised instead.
        """
        upgrade = self._upgrade  # when the handler has ended, this object has let go of it
        self._ws._begin(self._loop, self)
        upgrade.on_attached = self._attached
        self.runtime.ends.setdefault("event loop", self._loop.end_handlers)
        try:
            self._loop.call(self._make_task, context=self._context)
            upgrade.task_runs = True  # it discards the admission, also if it has ended already
            outcome = upgrade.wait()
        except BaseException:
            upgrade.server_answers()
            self._loop.call(self._answered)
            raise
        if outcome is not None:
            self._loop.call(self._answered)
        return outcome

    def _attached(self, ws: AsyncWebSocket) -> None:
        """It is accepted; by any thread."""
        self._loop.call_at_once(ws._watch)

    # ---- any thread ----

    @property
    def app(self) -> Flask:
        return self.runtime.app

    @property
    def is_receiving(self) -> bool:
        """Does a task of it wait for a message?"""
        ws: AsyncWebSocket | None = getattr(self, "_ws", None)  # it may end meanwhile
        return ws is None or bool(ws._receivers)

    @property
    def named_as_blocking(self) -> set[str]:
        return self.runtime.named_as_blocking

    # ---- the event loop's thread: the task ----

    def _make_task(self) -> None:
        HANDLER.set(self)
        self._loop.add(self)
        self.task = self._loop.loop.create_task(self._run(), name=f"ws {self.endpoint}")
        self.task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and claim(error):  # of the report, say
            self.app.logger.error("Exception after a WebSocket handshake", exc_info=error)
        self.has_ended = True
        self._stop_timer()
        self._ws._unwatch()
        self._loop.remove(self)
        try:
            ended(self._ws)
        finally:
            self._admission.discard()
            self.runtime.notify()
        # What refers to this object in turn, so that all is freed at once.
        self.task = None
        del self._ws, self._upgrade, self._context, self._admission, self._start, self._unit

    async def _run(self) -> None:
        error = None
        try:
            self._unit.begin()
            # Awaited by no further coroutine, as that would see a GeneratorExit twice.
            result = await self._start()
            if result is None:
                await self._ws._use()  # does nothing if it is decided
        except BaseException as raised:
            await self._settle()
            error = self._has_raised(raised)
        else:
            await self._settle()
            error = self._has_returned(result)
        finally:
            await self._end_unit(error)
            del error  # it refers to this frame
            if self._upgrade.accepted:
                warn_of_what_is_lost(self.app)

    async def _settle(self) -> None:
        """The handler has ended. If the server's thread is answering the handshake, wait until it has,
        without holding the event loop up: that thread runs code of the application."""
        self._upgrade.accept_no_more()
        self._upgrade.task_runs = False
        while self._upgrade.is_being_answered:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(SETTLE_INTERVAL)

    async def _end_unit(self, error: BaseException | None) -> None:
        """Run the teardown functions. Those that are coroutine functions are awaited, to their end also
        when the handler is cancelled meanwhile."""
        if not self._unit.is_awaited:
            self._unit.end(error)
            return
        ending = self._loop.loop.create_task(self._unit.end_awaiting(error))
        while not ending.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([ending])

    def _has_returned(self, result: Any) -> BaseException | None:
        """Do what the end of the handler asks for.

        :returns: the exception, if what it has returned is a failure.
        """
        if self._upgrade.handler_ended():
            lost = lost_value(self.app, handler_name(self._start), result)
            if lost is not None:
                self._fail(lost)
                return lost
            self._ws.close(1000)
        elif result is not None:
            self._unit.keeps_g = True
            self._upgrade.decide(Returned(result))
        return None

    def _has_raised(self, error: BaseException) -> BaseException | None:
        """Do what the exception asks for.

        :returns: the exception, if it is a failure: what the teardown functions are given.
        """
        ws = self._ws
        if not self._upgrade.handler_ended():
            return self._refuse(error)
        if ws.closed and (only_closed(error) or isinstance(error, asyncio.CancelledError)):
            ws.close(1000)  # the usual end: the tasks of a handler cancel each other then
        else:
            self._fail(error)  # ConnectionClosed too, when it was another websocket's
            return error
        return None

    def _fail(self, error: BaseException) -> None:
        if claim(error):
            fail(self.app, self._ws, error)
        else:
            self._ws.close(1011, "internal error")

    def _refuse(self, error: BaseException) -> BaseException | None:
        """The handler has raised before it has accepted: it is answered in plain HTTP.

        :returns: the exception, if it is a failure; it is none that the server has answered before.
        """
        if self._upgrade.server_answered and (
            only_closed(error) or isinstance(error, asyncio.CancelledError)
        ):
            return None
        logged = not isinstance(error, Exception) and not claim(error)
        self._upgrade.decide(InternalServerError() if logged else error)
        return None if isinstance(error, HTTPException) else error

    # ---- the event loop's thread: the end ----

    def websocket_closed(self) -> None:
        """The websocket is closing or closed."""
        if not self._is_closing and not self.has_ended:
            self._is_closing = True
            if not self._server_ends:
                self._give_time()

    def server_ends(self) -> None:
        """The server stops."""
        self._server_ends = True
        if not self.has_ended and not self._is_cancelled:
            self._set_timer(self.runtime.config.close_timeout / 2, self._half_of_the_stop_is_over)

    def _half_of_the_stop_is_over(self) -> None:
        """What is at something else is cancelled, and has the other half for its ``finally`` blocks.
        What was told of the end is perhaps in them, and has all of the time but the last part."""
        assert self.task is not None
        if is_or_waits_for(self.task, self._ws._told):
            self._set_timer(self.runtime.config.close_timeout * (1 / 2 - LAST_PART), self._cancel)
        else:
            self._cancel()

    def _answered(self) -> None:
        """The server has answered the handshake with plain HTTP, or is about to: there will be no
        websocket."""
        self._is_closing = True
        if not self.has_ended:
            self._ws._handshake_answered()
        if not self.has_ended and not self._server_ends:
            self._set_timer(self.runtime.config.close_timeout, self._cancel)

    def _give_time(self) -> None:
        """The websocket has closed, or the handler has taken more of what had arrived before that: it
        has ``WEBSOCKETS_CLOSE_TIMEOUT`` from now on."""
        self._untaken = self._ws._untaken
        self._set_timer(self.runtime.config.close_timeout / 2, self._half_is_over)

    def _half_is_over(self) -> None:
        untaken = self._ws._untaken
        if untaken in (0, self._untaken) and self.task is not None and merely_waits(self.task):
            self._untaken = untaken
            self._time_is_over()  # more of it would be for nothing that it has begun
        else:
            self._set_timer(self.runtime.config.close_timeout / 2, self._time_is_over)

    def _time_is_over(self) -> None:
        if self._ws._closes_itself:
            self._timer = None
        elif self._ws._untaken != self._untaken:
            self._give_time()
        else:
            self._cancel()

    def _cancel(self) -> None:
        """Cancel the handler, and again as long as it goes on."""
        assert self.task is not None
        timeout = max(self.runtime.config.close_timeout, CANCEL_EVERY)
        if self._is_cancelled:
            text = "the async view %s goes on %.1f s after it was cancelled: its websocket has closed"
            log(self.app, logging.WARNING, text, self.endpoint, timeout)
        self._is_cancelled = True
        self.task.cancel()
        self._set_timer(timeout, self._cancel)

    def _set_timer(self, seconds: float, function: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._loop.loop.call_later(seconds, function)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
