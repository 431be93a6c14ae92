"""Handlers on greenlets of eventlet."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.event
import eventlet.hubs
import eventlet.patcher

from .greenlets import EventLoop

__all__ = ("event_loop", "is_current")


#: Each thread has a hub, and its event loop is kept there.
ATTRIBUTE = "_flask_websockets_loop"


def is_current() -> bool:
    """Does the caller run in a greenlet, or would a thread of its own be one?"""
    if eventlet.patcher.is_monkey_patched("thread"):
        return True
    hub = getattr(eventlet.hubs._threadlocal, "hub", None)
    # The main greenlet of a thread that has served websockets, or what a hub runs: that is its parent.
    return hub is not None and (hasattr(hub, ATTRIBUTE) or eventlet.getcurrent().parent is hub.greenlet)


class EventletLoop(EventLoop):
    """The greenlets of one hub."""

    def __init__(self, hub: Any) -> None:
        super().__init__()
        self.pid = os.getpid()
        self._hub = hub
        self._listener = hub.add(hub.READ, self.notifier.fileno(), self.wake, ignore, ignore)

    current = staticmethod(eventlet.getcurrent)

    def switch_away(self, greenlet: Any, seconds: float | None) -> None:
        if seconds is None:
            self._hub.switch()
            return
        timer = self._hub.schedule_call_global(seconds, greenlet.switch)
        try:
            self._hub.switch()
        finally:
            timer.cancel()

    def start(self, run: Callable[[], None], name: str) -> None:
        eventlet.spawn_n(run)

    def condition(self) -> Condition:
        return Condition()

    def abandon(self) -> None:
        """In a forked child: the parent's notifier is the parent's."""
        self._hub.remove(self._listener)


def ignore(*_: Any) -> None:
    """What the hub calls when a descriptor is closed under a greenlet that waits for it: this one is
    not, before its notifier is gone."""


class Condition:
    """For greenlets of one hub, none of which switches away while it is in the ``with`` block."""

    def __init__(self) -> None:
        self._changed = eventlet.event.Event()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> None:
        self._changed.wait(timeout)

    def notify_all(self) -> None:
        changed, self._changed = self._changed, eventlet.event.Event()
        changed.send()


def event_loop() -> EventletLoop:
    """That of this thread."""
    hub = eventlet.hubs.get_hub()
    loop: EventletLoop | None = getattr(hub, ATTRIBUTE, None)
    if loop is not None and loop.pid != os.getpid():
        loop.abandon()
        loop = None
    if loop is None:
        loop = EventletLoop(hub)
        setattr(hub, ATTRIBUTE, loop)
    return loop
