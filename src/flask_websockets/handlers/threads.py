"""Handlers on threads."""

from __future__ import annotations

import contextlib
import os
import threading
from _thread import RLock
from collections import deque
from collections.abc import Callable

from .._core import name_thread
from ..interfaces import Callbacks

__all__ = ("STACK_SIZE", "THREADS")

#: The stack of a handler's thread, bytes of address space; memory is used only as far as the stack has
#: grown. With less, the stack ends before Python's own recursion limit: with 1 MiB, ``json.loads`` of a
#: message of 100,000 opening brackets ends the process in Python 3.13.
STACK_SIZE = 4 * 1024 * 1024

#: How long a thread whose handler has ended waits for another one, seconds.
IDLE_TIME = 5.0
#: How many threads wait so at once; more end at once.
IDLE_MAX = 32

#: Seconds. A thread is started with whatever stack size there is rather than wait longer for another
#: one's start, which may be held up by Python code that the garbage collector runs in it.
STACK_SIZE_TIMEOUT = 0.1

Run = Callable[[], None]


class Worker(threading.Thread):
    """A thread that runs one handler, and then others that start within ``IDLE_TIME``.

    It is a daemon, so that the interpreter's end does not wait for handlers beyond
    ``WEBSOCKETS_CLOSE_TIMEOUT``.

    Another thread may raise an exception in this one at any time (``PyThreadState_SetAsyncExc``, by
    which time-outs are made), also when the handler that it was meant for has just ended. It is
    reported, and the worker goes on: a handler that it is given after that must run.
    """

    def __init__(self, owner: Threads, run: Run, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._owner = owner
        #: The handlers that it has been given and has not begun.
        self._given: deque[tuple[Run, str]] = deque([(run, name)])
        self._changed = threading.Lock()  # unlocked by give()
        self._changed.acquire()
        #: It waits for a handler: is in the owner's ``idle``, or was chosen from there.
        self._waits = False

    def give(self, run: Run, name: str) -> None:
        """Run another handler; to be called on a worker that was chosen from ``idle``."""
        self._given.append((run, name))
        with contextlib.suppress(RuntimeError):  # it is unlocked already
            self._changed.release()

    def run(self) -> None:
        while True:
            try:
                do_not_preempt()
                self._work()
                return
            except BaseException as error:  # raised by another thread, as handlers raise nothing
                arguments = (type(error), error, error.__traceback__, self)
                threading.excepthook(threading.ExceptHookArgs(arguments))

    def _work(self) -> None:
        """Until it ends. An exception may come after a call, where a function begins, and before the
        next turn of a loop; this is called anew then."""
        idle = self._owner.idle
        while True:
            while self._waits and not self._given:
                in_time = self._changed.acquire(timeout=IDLE_TIME)
                if not in_time and not self._given and idle.pop(self, self) is None:
                    return  # else start() has just chosen it, and will call give()
            self._waits = False
            while self._given:
                run, name = self._given[0]
                self.name = name
                name_thread(name)
                del self._given[0]
                run()
                del run  # the handler's objects are freed now, and not when the next handler comes
            idle[self] = None
            self._waits = True
            if len(idle) > IDLE_MAX and idle.pop(self, self) is None:
                return
            name_thread("ws idle")


class Condition(RLock):  # type: ignore[misc] # may be a base, whatever the stubs say
    """A condition that one thread waits for, while others come and go: there is one for each
    handshake, and :class:`threading.Condition` takes three times as long.

    Its lock is one that the same thread may take again, because a signal handler or a ``__del__`` may.
    It is a class of C, so that a ``with`` block gives the lock back whatever exceptions other threads
    raise in this one.
    """

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        self._changed = threading.Lock()  # unlocked by a notification that wait() has not seen
        self._changed.acquire()

    def wait(self, timeout: float | None = None) -> None:
        self.release()
        try:
            self._changed.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            self.acquire()

    def notify_all(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is unlocked already
            self._changed.release()


class Threads:
    """Each handler has a thread of its own."""

    notifier = None
    wait = None

    def __init__(self) -> None:
        self.after_fork()
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        """In a forked child: the threads of the parent do not exist here."""
        #: The workers that wait for a handler, in the order in which they came. A worker is removed in
        #: one step of C, so that only one thread gets it, and no lock is needed.
        self.idle: dict[Worker, None] = {}
        #: Protects the stack size of the process. An RLock, because a signal handler or a __del__ may
        #: start a thread in the thread that holds it.
        self._stack_size_lock = threading.RLock()

    def start(self, run: Run, name: str) -> None:
        try:
            worker, _ = self.idle.popitem()
        except KeyError:
            self._start_thread(Worker(self, run, name))
        else:
            worker.give(run, name)

    def _start_thread(self, worker: Worker) -> None:
        # The size is a setting of the process. A thread that other code starts meanwhile gets it too,
        # which does no harm. A size that the application has set is kept.
        if not self._stack_size_lock.acquire(timeout=STACK_SIZE_TIMEOUT):
            worker.start()
            return
        try:
            before = threading.stack_size()
            if before == 0:
                threading.stack_size(STACK_SIZE)
            try:
                worker.start()
            finally:
                threading.stack_size(before)
        finally:
            self._stack_size_lock.release()

    def run_callbacks(self, callbacks: Callbacks) -> None:
        """The engine's own threads run them."""
        callbacks.ws._start_callbacks(callbacks.context)

    def condition(self) -> Condition:
        return Condition()


def do_not_preempt() -> None:
    """Let this thread wait for a processor instead of taking it from another thread.

    A thread that a message wakes would preempt the one that runs, only to find that that one holds
    the GIL: two switches for nothing. With SCHED_BATCH a waking thread does not preempt.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # where a sandbox forbids it
            # With the flag, what the handler starts is scheduled as usual.
            policy = os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(0))


THREADS = Threads()
