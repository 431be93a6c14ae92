"""Handlers on greenlets of gevent."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.hub
import gevent.monkey
from gevent._hub_local import get_hub_if_exists

from .greenlets import EventLoop

__all__ = ("event_loop", "is_current")


#: Each thread has a hub, and its event loop is kept there.
ATTRIBUTE = "_flask_websockets_loop"


def is_current() -> bool:
    """Does the caller run in a greenlet, or would a thread of its own be one?"""
    if gevent.monkey.is_module_patched("threading"):
        return True
    # The main greenlet of a thread that has served websockets, or what a hub runs: that is its parent.
    hub = get_hub_if_exists()
    return hasattr(hub, ATTRIBUTE) or isinstance(gevent.getcurrent().parent, gevent.hub.Hub)


class GeventLoop(EventLoop):
    """The greenlets of one hub."""

    def __init__(self, hub: Any) -> None:
        super().__init__()
        self.pid = os.getpid()
        self._hub = hub
        self._watcher = hub.loop.io(self.notifier.fileno(), 1)
        self._watcher.ref = False  # alone it does not keep the loop running
        self._watcher.start(self.wake)

    current = staticmethod(gevent.getcurrent)

    def switch_away(self, greenlet: Any, seconds: float | None) -> None:
        if seconds is None:
            self._hub.switch()
            return
        timer = self._hub.loop.timer(seconds)
        timer.start(greenlet.switch)
        try:
            self._hub.switch()
        finally:
            timer.stop()
            timer.close()

    def start(self, run: Callable[[], None], name: str) -> None:
        greenlet = gevent.Greenlet(run)
        greenlet.name = name
        greenlet.start()

    def condition(self) -> Condition:
        return Condition()

    def abandon(self) -> None:
        """In a forked child: the parent's notifier is the parent's."""
        self._watcher.stop()
        self._watcher.close()


class Condition:
    """For greenlets of one hub, none of which switches away while it is in the ``with`` block."""

    def __init__(self) -> None:
        self._changed = gevent.event.Event()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> None:
        self._changed.wait(timeout)

    def notify_all(self) -> None:
        changed, self._changed = self._changed, gevent.event.Event()
        changed.set()


def event_loop() -> GeventLoop:
    """That of this thread."""
    hub = gevent.get_hub()
    loop: GeventLoop | None = getattr(hub, ATTRIBUTE, None)
    if loop is not None and loop.pid != os.getpid():
        loop.abandon()
        loop = None
    if loop is None:
        loop = GeventLoop(hub)
        setattr(hub, ATTRIBUTE, loop)
    return loop
