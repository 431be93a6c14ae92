"""What the handlers of function views run on: threads of the extension's own, or the greenlets of
gevent or eventlet, whichever the request came on."""

from __future__ import annotations

import sys

from ..interfaces import Handlers
from . import threads

__all__ = ("current",)


def current() -> Handlers:
    """What the handler of a request runs on that the calling thread or greenlet has got."""
    # Only who has imported one of them can be running on it.
    if "gevent" in sys.modules:
        from . import gevent

        if gevent.is_current():
            return gevent.event_loop()
    if "eventlet" in sys.modules:
        from . import eventlet

        if eventlet.is_current():
            return eventlet.event_loop()
    return threads.THREADS
