"""Handlers on greenlets of gevent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.hub
import gevent.monkey
from gevent._hub_local import get_hub_if_exists

from .greenlets import Condition, EventLoop, has_loop

__all__ = ("event_loop", "is_current")


def is_current() -> bool:
    """Does the caller run in a greenlet of gevent, or are new threads greenlets?"""
    if gevent.monkey.is_module_patched("threading"):
        return True
    # True for the main greenlet of a thread that has served websockets, and for the greenlets that a
    # hub runs: the hub is their parent.
    hub = get_hub_if_exists()
    return has_loop(hub) or isinstance(gevent.getcurrent().parent, gevent.hub.Hub)


class GeventLoop(EventLoop):
    """The greenlets of one hub."""

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._watcher = hub.loop.io(self.notifier.fileno(), 1)
        self._watcher.ref = False  # the loop ends even while this is watched
        self._watcher.start(self.wake)

    current = staticmethod(gevent.getcurrent)

    def switch_away(self, greenlet: Any, seconds: float | None) -> None:
        if seconds is None:
            self.hub.switch()
            return
        timer = self.hub.loop.timer(seconds)
        timer.start(greenlet.switch)
        try:
            self.hub.switch()
        finally:
            timer.stop()
            timer.close()

    def start(self, run: Callable[[], None], name: str) -> None:
        greenlet = gevent.Greenlet(run)
        greenlet.name = name
        greenlet.start()

    def report(self, greenlet: Any, error: BaseException) -> None:
        self.hub.handle_error(greenlet, type(error), error, error.__traceback__)

    def condition(self) -> Condition:
        return Condition(gevent.event.Event, gevent.event.Event.set)

    def abandon(self) -> None:
        self._watcher.stop()
        self._watcher.close()


def event_loop() -> GeventLoop:
    """The one of this thread."""
    return GeventLoop.of(gevent.get_hub())
