"""What the handlers of function views run on: threads of the extension's own, or the greenlets of
gevent or eventlet, whichever the request came on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from . import threads

if TYPE_CHECKING:
    from .._core import Notifier
    from ..views import Events

__all__ = ("Condition", "Handlers", "current")


class Condition(Protocol):
    """As much of :class:`threading.Condition` as is used here."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc_info: Any) -> Any: ...

    def wait(self, timeout: float | None = None) -> Any: ...

    def notify_all(self) -> None: ...


class Handlers(Protocol):
    """Starts handlers, and knows how they wait."""

    @property
    def notifier(self) -> Notifier | None:
        """What tells the event loop of greenlets that a websocket has changed; None: handlers are
        threads."""

    @property
    def wait(self) -> Callable[[int, float | None], None] | None:
        """``wait(token, seconds)``, as ``Engine.attach`` takes it."""

    def start(self, run: Callable[[], None], name: str) -> None:
        """Start a handler.

        :param run: the handler, which raises nothing.
        :param name: for debuggers and ``ps``.
        :raises RuntimeError, MemoryError: when there is no thread to be had.
        """

    def begin(self, events: Events) -> None:
        """Let the callbacks of a class view begin; its websocket is attached."""

    def condition(self) -> Condition:
        """For the few places where a handler and its server wait for each other."""


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
