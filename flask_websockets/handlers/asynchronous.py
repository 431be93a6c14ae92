"""Handlers that are coroutines: one asyncio event loop for all of a process, in a thread of its own;
uvloop's where that is installed."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

from .._core import Notifier, name_thread
from ..interfaces import Callbacks, TaskWebSocket
from .threads import THREADS, Condition

__all__ = ("AsyncioLoop", "event_loop")

T = TypeVar("T")

#: Seconds.
END_TIMEOUT = 1.0


class Waiting:
    """One websocket, and who waits for it. Everything here is the event loop's thread's."""

    __slots__ = ("future", "ws")

    def __init__(self, ws: TaskWebSocket) -> None:
        self.ws = ws
        #: What a task waits for.
        self.future: asyncio.Future[None] | None = None


class AsyncioLoop:
    """The event loop; created in the thread that it will not run in."""

    wait = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.notifier = Notifier()
        self.loop = new_loop()
        self.loop.add_reader(self.notifier.fileno(), self._wake)
        #: By the token of the websocket.
        self._waiting: dict[int, Waiting] = {}
        self.thread = threading.Thread(target=self._run, name="ws asyncio", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        name_thread("ws asyncio")
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    # ---- any thread ----

    def end(self) -> None:
        """The interpreter ends: let the thread end before it, unless a coroutine holds it up."""
        if self.pid == os.getpid():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(END_TIMEOUT)

    def call(
        self, function: Callable[..., Any], *arguments: Any, context: Context | None = None
    ) -> None:
        """Call it in the event loop's thread, soon."""
        self.loop.call_soon_threadsafe(function, *arguments, context=context)

    def condition(self) -> Condition:
        return Condition()

    def attached(self, ws: TaskWebSocket) -> None:
        """Its handshake was accepted: from now on its task is cancelled when it closes."""
        self.call(self._know, ws)

    def start(self, run: Callable[[], None], name: str) -> None:
        raise NotImplementedError  # coroutines are started otherwise, see Running

    def begin(self, events: Callbacks) -> None:
        raise NotImplementedError

    # ---- the event loop's thread ----

    def _know(self, ws: TaskWebSocket) -> Waiting:
        waiting = self._waiting.get(ws._token)
        if waiting is None:
            waiting = self._waiting[ws._token] = Waiting(ws)
            if ws._task.done():
                self.forget(ws)
            elif ws.closed:  # so soon that nobody knew whom to tell
                self._changed(waiting)
        return waiting

    def _wake(self) -> None:
        for token in self.notifier.take():
            waiting = self._waiting.get(token)
            if waiting is not None:
                self._changed(waiting)

    def _changed(self, waiting: Waiting) -> None:
        if waiting.future is not None:
            end(waiting.future)
        elif waiting.ws.closed:
            waiting.ws._task.cancel()

    async def changed(self, ws: TaskWebSocket, timeout: float | None) -> None:
        """Wait until the notifier names the websocket, or the time (seconds) is over."""
        waiting = self._know(ws)
        if waiting.future is not None:
            raise RuntimeError("another task waits for this websocket")
        waiting.future = self.loop.create_future()
        # Not wait_for(): that would be a task more for each message.
        timer = None if timeout is None else self.loop.call_later(timeout, end, waiting.future)
        try:
            await waiting.future
        finally:
            waiting.future = None
            if timer is not None:
                timer.cancel()

    async def on_a_thread(self, function: Callable[[], T], name: str) -> T:
        """What a function returns that waits; a thread of its own does, so that those of asyncio,
        which are few, stay free."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        THREADS.start(run, name)
        return await asyncio.wrap_future(future)

    def forget(self, ws: TaskWebSocket) -> None:
        """Its handler has ended."""
        self._waiting.pop(ws._token, None)


def end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_lock = threading.Lock()
_loop: AsyncioLoop | None = None


def event_loop() -> AsyncioLoop:
    """That of this process; its thread starts with the first."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = AsyncioLoop()
        return _loop


def _after_fork() -> None:
    global _lock, _loop
    _lock = threading.Lock()
    _loop = None  # and nothing of it is closed: its descriptors are shared with the parent


os.register_at_fork(after_in_child=_after_fork)


# Registered when this is imported, so that it comes after the handlers' end, which every app
# registers later.
@atexit.register
def _end() -> None:
    if _loop is not None:
        _loop.end()
