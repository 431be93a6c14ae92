"""Handlers on greenlets of eventlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.event
import eventlet.hubs
import eventlet.patcher

from .greenlets import Condition, EventLoop, has_loop

__all__ = ("event_loop", "is_current")


def is_current() -> bool:
    """Does the caller run in a greenlet of eventlet, or are new threads greenlets?"""
    if eventlet.patcher.is_monkey_patched("thread"):
        return True
    hub = getattr(eventlet.hubs._threadlocal, "hub", None)
    # True for the main greenlet of a thread that has served websockets, and for the greenlets that a
    # hub runs: the hub is their parent.
    return hub is not None and (has_loop(hub) or eventlet.getcurrent().parent is hub.greenlet)


class EventletLoop(EventLoop):
    """The greenlets of one hub."""

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._listener = hub.add(hub.READ, self.notifier.fileno(), self.wake, ignore, ignore)

    current = staticmethod(eventlet.getcurrent)

    def switch_away(self, greenlet: Any, seconds: float | None) -> None:
        if seconds is None:
            self.hub.switch()
            return
        timer = self.hub.schedule_call_global(seconds, greenlet.switch)
        try:
            self.hub.switch()
        finally:
            timer.cancel()

    def start(self, run: Callable[[], None], name: str) -> None:
        eventlet.spawn_n(run)

    def report(self, greenlet: Any, error: BaseException) -> None:
        if isinstance(error, self.hub.SYSTEM_EXCEPTIONS):  # these end the hub, also from here
            self.hub.schedule_call_global(0, throw, error)
        else:
            self.hub.squelch_generic_exception((type(error), error, error.__traceback__))

    def condition(self) -> Condition:
        return Condition(eventlet.event.Event, eventlet.event.Event.send)

    def abandon(self) -> None:
        self.hub.remove(self._listener)


def throw(error: BaseException) -> None:
    raise error


def ignore(*_: Any) -> None:
    """Does nothing. The hub would call it if the notifier's descriptor were closed while it is watched,
    which does not happen."""


def event_loop() -> EventletLoop:
    """The one of this thread."""
    return EventletLoop.of(eventlet.hubs.get_hub())
