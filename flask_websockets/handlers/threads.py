"""Handlers on threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from .._core import name_thread
from ..interfaces import Callbacks

__all__ = ("STACK_SIZE", "THREADS")

#: Of a handler's thread, bytes of address space: memory is used only as far as the stack has grown.
#: With less, Python's own recursion limit comes too late: in 3.13 a message of 100,000 opening brackets
#: ends the process in ``json.loads`` at 1 MiB.
STACK_SIZE = 4 * 1024 * 1024

#: A thread whose handler has ended waits for another one, so long (seconds), and so many at once.
IDLE_TIME = 5.0
IDLE_MAX = 32

Run = Callable[[], None]


class Worker(threading.Thread):
    """A thread that runs one handler, and others after it if there are any soon.

    It is a daemon, so that the interpreter's end does not wait for handlers beyond
    ``WEBSOCKETS_CLOSE_TIMEOUT``.
    """

    def __init__(self, owner: Threads, run: Run, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._owner = owner
        self._next: tuple[Run, str] | None = (run, name)
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, run: Run, name: str) -> None:
        """To an idle one: the next handler."""
        self._next = (run, name)
        self._given.release()

    def run(self) -> None:
        be_patient()
        while self._next is not None:
            (run, name), self._next = self._next, None
            self.name = name
            name_thread(name)
            run()
            del run  # and what it holds
            if not self._owner.is_wanted(self):
                return
            name_thread("ws idle")
            if not self._given.acquire(timeout=IDLE_TIME) and not self._owner.is_leaving(self):
                self._given.acquire()  # it was given something at the last moment


class Condition:
    """A condition that one thread waits for, while others come and go: there is one for each
    handshake, and :class:`threading.Condition` takes three times as long."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Lock()  # free when there is something that wait() has not seen
        self._changed.acquire()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> None:
        self._lock.release()
        try:
            self._changed.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            self._lock.acquire()

    def notify_all(self) -> None:
        if self._changed.locked():  # under the lock, so that nobody else releases it
            self._changed.release()


class Threads:
    """Each handler has a thread of its own."""

    notifier = None
    wait = None

    def __init__(self) -> None:
        self.after_fork()
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        """No thread of the parent is here."""
        self._lock = threading.Lock()
        self._idle: list[Worker] = []

    def start(self, run: Run, name: str) -> None:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is not None:
            worker.give(run, name)
            return
        worker = Worker(self, run, name)
        # The size is the process's. A thread that somebody else starts at this moment gets it too,
        # which is no harm; one that the application has set stands.
        with self._lock:
            before = threading.stack_size()
            if before == 0:
                threading.stack_size(STACK_SIZE)
            try:
                worker.start()
            finally:
                threading.stack_size(before)

    def is_wanted(self, worker: Worker) -> bool:
        """Called by a worker that has nothing to do: may it wait for something?"""
        with self._lock:
            if len(self._idle) >= IDLE_MAX:
                return False
            self._idle.append(worker)
            return True

    def is_leaving(self, worker: Worker) -> bool:
        """Called by a worker that has waited long enough: false when it has just been given
        something."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True

    def begin(self, events: Callbacks) -> None:
        """The engine's own threads run them."""
        events.ws._begin()

    def condition(self) -> Condition:
        return Condition()


def be_patient() -> None:
    """Let this thread wait for its turn instead of interrupting another.

    A thread that a message wakes would preempt the one that runs, only to find that that one holds
    the GIL: two switches for nothing. With SCHED_BATCH a waking thread does not preempt.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # where a sandbox forbids it
            # The flag: what the handler starts is scheduled as usual.
            policy = os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(0))


THREADS = Threads()
