"""What the handlers of function views run on: threads of the extension's own, or the greenlets of
gevent or eventlet, whichever the request came on."""

from __future__ import annotations

import sys

from ..interfaces import Executor
from . import threads

__all__ = ("current_executor",)


def current_executor() -> Executor:
    """What the handler of a request runs on: greenlets when the calling thread or greenlet, which has
    the request, belongs to gevent or eventlet; else threads."""
    # The caller can belong to one of the two only if that has been imported.
    if "gevent" in sys.modules:
        from . import gevent

        if gevent.is_current():
            return gevent.event_loop()
    if "eventlet" in sys.modules:
        from . import eventlet

        if eventlet.is_current():
            return eventlet.event_loop()
    return threads.THREADS
