"""Handlers that are coroutines: one asyncio event loop for all of a process, in a thread of its own;
uvloop's where that is installed."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from flask import Flask

from .._core import Notifier, name_thread
from ..interfaces import Callbacks, TaskHandler, TaskWebSocket
from .failures import exception_handler, handler_of, log, report_to_app
from .threads import THREADS, Condition
from .watchdog import Watchdog

__all__ = ("AsyncioLoop", "event_loop")

T = TypeVar("T")

#: How long the interpreter's end waits for the event loop's thread, seconds.
STOP_TIMEOUT = 1.0


class AsyncioLoop:
    """The event loop of a process, with its thread, once that is started."""

    wait = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.notifier = Notifier()
        self.loop = new_loop()
        self.loop.add_reader(self.notifier.fileno(), self._wake)
        self.loop.set_exception_handler(exception_handler(self._app_of))
        #: The websockets whose changes are told to them, by token.
        self._watched: dict[int, TaskWebSocket] = {}
        #: The handlers that run, or whose request context is not left yet.
        self.handlers: dict[TaskHandler, None] = {}
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name="ws asyncio", daemon=True)
        self._watchdog = Watchdog(self)

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
        while not self._stopping:
            try:
                self.loop.run_forever()
                if not self._stopping:
                    text = "An async view has stopped the event loop of all async views; it goes on"
                    log(self.only_app(), logging.WARNING, text)
            except BaseException as error:
                # A task or callback has raised SystemExit or KeyboardInterrupt, which asyncio lets out
                # of the loop; or another thread has raised an exception in this one.
                text = "An exception has left the event loop of the async views, which goes on"
                report_to_app(self.only_app(), error, text)

    # ---- any thread ----

    def stop(self) -> None:
        """End the thread, because the interpreter ends. A coroutine that does not return to the event
        loop within ``STOP_TIMEOUT`` is left running."""
        self._stopping = True
        self._watchdog.stop()
        if self.pid == os.getpid():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(STOP_TIMEOUT)

    def call(
        self, function: Callable[..., Any], *arguments: Any, context: Context | None = None
    ) -> None:
        """Call a function in the event loop's thread, as soon as that is free."""
        self.loop.call_soon_threadsafe(function, *arguments, context=context)

    def call_at_once(self, function: Callable[[], Any]) -> None:
        """The same, and before this returns if it is the event loop's thread that calls."""
        if threading.get_ident() == self.thread.ident:
            function()
        else:
            self.call(function)

    def condition(self) -> Condition:
        return Condition()

    def start(self, run: Callable[[], None], name: str) -> None:
        raise NotImplementedError  # AsyncHandler starts coroutines

    def run_callbacks(self, callbacks: Callbacks) -> None:
        raise NotImplementedError  # class views run elsewhere

    def end_handlers(self, runtime: object) -> None:
        """The server stops: the handlers of one application, known by its runtime, are to end."""
        with suppress(RuntimeError):  # the event loop has ended
            self.call(self._end_handlers, runtime)

    def only_app(self) -> Flask | None:
        """The application whose handlers run, unless there are several."""
        apps = {handler.app for handler in list(self.handlers)}
        return apps.pop() if len(apps) == 1 else None

    def _app_of(self, task: object) -> Flask | None:
        handler = handler_of(task)
        return self.only_app() if handler is None else handler.app

    # ---- the event loop's thread ----

    def add(self, handler: TaskHandler) -> None:
        """A handler begins; until :meth:`remove` it is one of ``handlers``."""
        self.handlers[handler] = None
        self._watchdog.start()

    def remove(self, handler: TaskHandler) -> None:
        self.handlers.pop(handler, None)

    def _end_handlers(self, runtime: object) -> None:
        for handler in list(self.handlers):
            if handler.runtime is runtime:
                handler.server_ends()

    def watch(self, ws: TaskWebSocket) -> None:
        """Tell a websocket, by its ``_changed``, when the notifier names it."""
        self._watched[ws._token] = ws

    def unwatch(self, ws: TaskWebSocket) -> None:
        self._watched.pop(ws._token, None)

    def _wake(self) -> None:
        self._watchdog.note_activity()
        watched = self._watched
        for token in self.notifier.take():
            if token in watched:
                watched[token]._changed()

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
