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

#: How long the interpreter's end waits for the event loop's thread, seconds.
STOP_TIMEOUT = 1.0


class Watched:
    """A websocket that the event loop watches, and the tasks that wait for it. Used in the event loop's
    thread alone."""

    __slots__ = ("is_ending", "waiting", "ws")

    def __init__(self, ws: TaskWebSocket) -> None:
        self.ws = ws
        #: It has closed, and its handler will be cancelled if it is not done by then.
        self.is_ending = False
        #: One for each task that waits: it is resolved once the websocket has changed.
        self.waiting: list[asyncio.Future[None]] = []


class AsyncioLoop:
    """The event loop of a process, with its thread, once that is started."""

    wait = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.notifier = Notifier()
        self.loop = new_loop()
        self.loop.add_reader(self.notifier.fileno(), self._wake)
        #: By the token of the websocket.
        self._watched: dict[int, Watched] = {}
        self.thread = threading.Thread(target=self._run, name="ws asyncio", daemon=True)

    def start_thread(self) -> None:
        """Start the thread, which also calls what call() was given before."""
        self.thread.start()

    def close(self) -> None:
        """Give the descriptors back; not while the thread runs."""
        self.loop.remove_reader(self.notifier.fileno())
        self.loop.close()

    def _run(self) -> None:
        name_thread("ws asyncio")
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    # ---- any thread ----

    def stop(self) -> None:
        """End the thread, because the interpreter ends. A coroutine that does not return to the event
        loop within ``STOP_TIMEOUT`` is left running."""
        if self.pid == os.getpid():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(STOP_TIMEOUT)

    def call(
        self, function: Callable[..., Any], *arguments: Any, context: Context | None = None
    ) -> None:
        """Call a function in the event loop's thread, as soon as that is free."""
        self.loop.call_soon_threadsafe(function, *arguments, context=context)

    def condition(self) -> Condition:
        return Condition()

    def watch(self, ws: TaskWebSocket) -> None:
        """Cancel the task of a websocket ``_cancel_after`` seconds after that has closed, if it has not
        ended by then; to be called when it is accepted."""
        self.call(self._watch, ws)

    def start(self, run: Callable[[], None], name: str) -> None:
        raise NotImplementedError  # AsyncHandler starts coroutines

    def run_callbacks(self, callbacks: Callbacks) -> None:
        raise NotImplementedError  # class views run elsewhere

    # ---- the event loop's thread ----

    def _watch(self, ws: TaskWebSocket) -> Watched:
        watched = self._watched.get(ws._token)
        if watched is None:
            watched = self._watched[ws._token] = Watched(ws)
            # The notifier names a close only once, and has perhaps named it before it was watched.
            if ws.closed and not ws._task.done():
                self._on_change(watched)
        return watched

    def _wake(self) -> None:
        for token in self.notifier.take():
            watched = self._watched.get(token)
            if watched is not None:
                self._on_change(watched)

    def _on_change(self, watched: Watched) -> None:
        ws = watched.ws
        if ws.closed and not watched.is_ending:
            watched.is_ending = True
            if watched.waiting or not ws._server_ends:
                # It first gets all that has arrived, also if it is at something else at this moment.
                self.loop.call_later(ws._cancel_after, ws._task.cancel)
            else:  # so that its `finally` has all of the time that there is
                ws._task.cancel()
        for future in watched.waiting:
            resolve(future)

    async def wait_for_change(self, ws: TaskWebSocket, timeout: float | None) -> None:
        """Wait until the notifier names the websocket, or the time (seconds) is over. Several tasks may
        wait for the same one, and all of them go on then."""
        waiting = self._watch(ws).waiting
        future = self.loop.create_future()
        waiting.append(future)
        # Not asyncio.wait_for(), which makes a task for each message.
        timer = None if timeout is None else self.loop.call_later(timeout, resolve, future)
        try:
            await future
        finally:
            waiting.remove(future)
            if timer is not None:
                timer.cancel()
            if ws._task.done():
                self.unwatch(ws)

    async def on_a_thread(self, function: Callable[[], T], name: str) -> T:
        """Call a function that waits in a thread of its own, and return what it returns. The threads of
        asyncio, which are few, stay free."""
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

    def unwatch(self, ws: TaskWebSocket) -> None:
        """The handler of a websocket has ended. Other tasks may still wait for it: they see now that it
        is closed, or wait again for a message that is being sent."""
        watched = self._watched.get(ws._token)
        if watched is None:
            return
        if not watched.waiting:
            del self._watched[ws._token]
        for future in watched.waiting:
            resolve(future)


def resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


#: The event loop of this process is its value for the key ``"loop"``. One step of C puts it there if
#: there is none, so no lock is needed that a __del__ or a signal handler could meet again.
_loops: dict[str, AsyncioLoop] = {}


def event_loop() -> AsyncioLoop:
    """The event loop of this process, made and started by the first call.

    :raises RuntimeError, MemoryError, OSError: when there is no thread, memory or descriptor for it.
    """
    loop = _loops.get("loop")
    if loop is None:
        made = AsyncioLoop()
        try:  # before others can find it: without a thread it would be of no use to them
            made.start_thread()
        except BaseException:
            made.close()
            raise
        loop = _loops.setdefault("loop", made)
        if loop is not made:  # another thread was first
            made.stop()
            made.close()
    return loop


def _after_fork() -> None:
    _loops.clear()  # nothing is closed, because the parent shares the descriptors and watches them


os.register_at_fork(after_in_child=_after_fork)


# Registered when this is imported, and so called after the shut-down of every application, which is
# registered later.
@atexit.register
def _end() -> None:
    loop = _loops.get("loop")
    if loop is not None:
        loop.stop()
