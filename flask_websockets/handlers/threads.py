"""Handlers on threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from .._core import name_thread

__all__ = ("STACK_SIZE", "THREADS")

#: Of a handler's thread, bytes of address space: memory is used only as far as the stack has grown.
#: With less, Python's own recursion limit comes too late: in 3.13 a message of 100,000 opening brackets
#: ends the process in ``json.loads`` at 1 MiB.
STACK_SIZE = 4 * 1024 * 1024


class Threads:
    """Each handler has a thread of its own, a daemon, so that the interpreter's end does not wait for
    handlers beyond ``WEBSOCKETS_CLOSE_TIMEOUT``."""

    notifier = None
    wait = None

    def __init__(self) -> None:
        self._stack_size = threading.Lock()

    def start(self, run: Callable[[], None], name: str) -> None:
        def thread() -> None:
            name_thread(name)
            be_patient()
            run()

        starting = threading.Thread(target=thread, name=name, daemon=True)
        # The size is the process's. A thread that somebody else starts at this moment gets it too,
        # which is no harm; one that the application has set stands.
        with self._stack_size:
            before = threading.stack_size()
            if before == 0:
                threading.stack_size(STACK_SIZE)
            try:
                starting.start()
            finally:
                threading.stack_size(before)

    condition = staticmethod(threading.Condition)


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
