"""The end of a process whose server does not care for it: SIGTERM and SIGHUP, which would cut the
websockets off, end it as Ctrl-C does.

gunicorn, uWSGI and the reloader handle these signals themselves, and end in an orderly way; there is
nothing to be done here.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from .runtime import runtimes

__all__ = ("handle_signals",)


def handle_signals() -> None:
    """Handle the signals that nobody handles; to be called when an application is made."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not the main thread: only there it can be done
                signal.signal(number, end)


def end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    if any(runtime.started for runtime in list(runtimes)):
        raise SystemExit(0)
    os.kill(os.getpid(), number)  # no server here
