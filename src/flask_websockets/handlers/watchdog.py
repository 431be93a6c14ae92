"""Says which async view blocks the event loop.

A thread looks at the event loop from outside, so that nothing is measured for a message or a step of a
task. It sleeps while the event loop has nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
import threading
import time
from typing import Any, Protocol

from flask import Flask

from .._core import name_thread
from ..interfaces import TaskHandler
from .failures import handler_of, log

__all__ = ("Watchdog",)

#: Seconds for which a step of a task may keep the event loop.
LIMIT = 0.1
#: How often the thread looks whether a task runs, seconds; by so much a block may be longer than the
#: limit and not be seen.
LOOK_EVERY = 0.02
#: After so many looks in a row that saw nothing the thread sleeps until the next message.
QUIET_LOOKS = 50
#: How often it looks even so, seconds, while a handler is at something else than receiving: what that
#: goes on with is no message.
LOOK_EVERY_QUIET = 1.0
#: A view that blocks for so long, seconds, is named while it does.
NAME_AFTER = 5.0


class Watched(Protocol):
    """As much of the event loop as is needed here."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    handlers: dict[TaskHandler, None]

    def only_app(self) -> Flask | None: ...


class Watchdog:
    """The thread, once :meth:`start` is called.

    :param watched: the event loop.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._active = False
        self._sleeps = False
        self._stopping = False
        self._woken = threading.Lock()  # unlocked to wake the thread
        self._woken.acquire()
        self._thread: threading.Thread | None = None
        #: What was named and belongs to no handler that is known.
        self._named: set[str] = set()

    # ---- the event loop's thread ----

    def start(self) -> None:
        """A handler begins. Without a thread to be had nothing is watched, until the next one."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="ws watchdog", daemon=True)
            with contextlib.suppress(RuntimeError, MemoryError):
                thread.start()
                self._thread = thread
        self.note_activity()

    def note_activity(self) -> None:
        self._active = True
        if self._sleeps:
            self._wake()

    # ---- any thread ----

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        self._sleeps = False
        with contextlib.suppress(RuntimeError):  # it is unlocked already
            self._woken.release()

    # ---- its own thread ----

    def _run(self) -> None:
        name_thread("ws watchdog")
        quiet = 0
        while not self._stopping:
            task = asyncio.current_task(self._watched.loop)
            if task is not None:
                quiet = 0
                self._look_at(task)
            elif self._active:
                quiet = 0
            elif (quiet := quiet + 1) >= QUIET_LOOKS:
                self._sleep()
                continue
            self._active = False
            self._woken.acquire(timeout=LOOK_EVERY)

    def _sleep(self) -> None:
        self._sleeps = True
        if self._active:  # it has perhaps not seen that this thread sleeps
            self._sleeps = False
            return
        elsewhere = any(not handler.is_receiving for handler in list(self._watched.handlers))
        self._woken.acquire(timeout=LOOK_EVERY_QUIET if elsewhere else -1)

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        """A task runs: see whether it lets others run before its time is over."""
        begun = time.monotonic()
        answered = threading.Lock()
        answered.acquire()
        try:
            self._watched.loop.call_soon_threadsafe(answered.release)
        except RuntimeError:  # it is closed
            self._stopping = True
            return
        if answered.acquire(timeout=LIMIT):
            return
        # When this thread was late as well, the machine is busy, and the task does perhaps nothing.
        is_late = time.monotonic() - begun > LIMIT + LIMIT / 2
        handler, where = self._handler_of(task), self._place()
        is_it = not is_late and asyncio.current_task(self._watched.loop) is task
        answered.acquire(timeout=NAME_AFTER)
        if is_it:
            self._name(task, handler, time.monotonic() - begun, where)

    def _place(self) -> str:
        """Where the event loop's thread is: the line of the innermost ``async def`` function, which has
        called what blocks."""
        frame = sys._current_frames().get(self._watched.thread.ident or 0)
        while frame is not None and not frame.f_code.co_flags & inspect.CO_COROUTINE:
            frame = frame.f_back
        if frame is None:
            return "a place that is not known"
        return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"

    def _handler_of(self, task: asyncio.Task[Any]) -> TaskHandler | None:
        for handler in list(self._watched.handlers):
            if handler.task is task:
                return handler
        return handler_of(task)

    def _name(
        self, task: asyncio.Task[Any], handler: TaskHandler | None, seconds: float, where: str
    ) -> None:
        if handler is None:
            name = getattr(task.get_coro(), "__qualname__", task.get_name())
            view, app, named = f"task {name}", self._watched.only_app(), self._named
        else:
            view, app, named = f"async view {handler.endpoint}", handler.app, handler.named_as_blocking
        if view not in named:
            named.add(view)
            log(
                app,
                logging.WARNING,
                "the %s has blocked the event loop of all async views for %.2f s or more, at %s: await "
                "what waits, and do what takes long in asyncio.to_thread()",
                view,
                seconds,
                where,
            )
