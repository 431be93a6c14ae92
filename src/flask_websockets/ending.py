"""SIGTERM and SIGHUP, where the server leaves them unhandled: they would cut the websockets off, so
they are made to end the process as Ctrl-C does.

gunicorn, uWSGI and the reloader handle these signals themselves, and end in an orderly way.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from ._core import guard_signal
from .runtime import runtimes

__all__ = ("handle_signals",)


def handle_signals() -> None:
    """Handle those of the two signals that nothing handles; called when an application is made. They
    have their default effect until there is a handshake, so that a program which only imports the
    application ends as it would without."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # only the main thread can set a handler
                signal.signal(number, end)
                guard_signal(number)


def end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
    if any(runtime.started for runtime in list(runtimes)):
        raise SystemExit(0)
    os.kill(os.getpid(), number)  # nothing is served here any more
