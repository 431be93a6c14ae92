"""What the event loops of gevent and eventlet have in common: greenlets that wait for websockets, and
one descriptor per thread that becomes readable when any of these websockets has changed.

Everything here runs in one thread, and only one greenlet runs at a time, so there is nothing to lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .._core import Notifier
from ..errors import ConnectionClosed
from ..interfaces import Callbacks

__all__ = ("Condition", "EventLoop", "has_loop")

#: Each thread has a hub; this attribute of the hub is its EventLoop.
ATTRIBUTE = "_flask_websockets_loop"

Loop = TypeVar("Loop", bound="EventLoop")


def has_loop(hub: object) -> bool:
    """Has this hub run handlers? False for None."""
    return hasattr(hub, ATTRIBUTE)


class EventLoop:
    """The greenlets of one thread that wait for websockets.

    A subclass watches ``notifier`` and calls :meth:`wake` in its hub, which is the greenlet that runs
    the event loop.

    :param hub: gevent's or eventlet's.
    """

    def __init__(self, hub: Any) -> None:
        self.pid = os.getpid()
        self.hub = hub
        self.notifier = Notifier()
        #: The greenlet that waits for a websocket, by the token of that.
        self._waiting: dict[int, Any] = {}
        #: Further greenlets that wait for the same one.
        self._others: dict[int, list[Any]] = {}
        #: The callbacks of class views, by token.
        self._callbacks: dict[int, Callbacks] = {}
        #: The tokens whose callbacks run in a greenlet now.
        self._running: dict[int, object] = {}

    @classmethod
    def of(cls: type[Loop], hub: Any) -> Loop:
        """The one of a hub, made at the first call."""
        loop: Loop | None = getattr(hub, ATTRIBUTE, None)
        if loop is not None and loop.pid != os.getpid():
            loop.abandon()
            loop = None
        if loop is None:
            loop = cls(hub)
            setattr(hub, ATTRIBUTE, loop)
        return loop

    def wait(self, token: int, seconds: float | None) -> None:
        """Let other greenlets run until the websocket has changed, or the time is over."""
        greenlet = self.current()
        if token in self._waiting:
            self._wait_beside_another(greenlet, token, seconds)
            return
        self._waiting[token] = greenlet
        try:
            self.switch_away(greenlet, seconds)
        finally:
            # It is still there after a time-out, or an exception that was thrown in.
            if self._waiting.get(token) is greenlet:
                del self._waiting[token]

    def _wait_beside_another(self, greenlet: Any, token: int, seconds: float | None) -> None:
        others = self._others.setdefault(token, [])
        others.append(greenlet)
        try:
            self.switch_away(greenlet, seconds)
        finally:
            if self._others.get(token) is others:
                others.remove(greenlet)
                if not others:
                    del self._others[token]

    def wake(self, *_: Any) -> None:
        """Switch to the greenlets whose websockets have changed. Runs in the hub."""
        waiting, others, callbacks = self._waiting, self._others, self._callbacks
        for token in self.notifier.take():
            if token in callbacks and token not in self._running:
                self._start(token)
            # Both are removed before either runs, which may wait again.
            beside = others.pop(token, ()) if others else ()
            if (greenlet := waiting.pop(token, None)) is not None:
                self._resume(greenlet)
            for greenlet in beside:
                self._resume(greenlet)

    def _resume(self, greenlet: Any) -> None:
        """Switch to a greenlet. One that ends with an exception while it runs must not end the watching
        of the notifier with it."""
        try:
            greenlet.switch()
        except BaseException as error:
            self.report(greenlet, error)

    # ---- class views ----

    def run_callbacks(self, callbacks: Callbacks) -> None:
        """Run the callbacks of a class view as messages come, each time in a greenlet that ends when
        there is no more message. A second call does what is left of an interrupted first."""
        token = callbacks.ws._token
        self._callbacks[token] = callbacks
        self._start(token)

    def _start(self, token: int) -> None:
        started = self._running[token] = object()
        self.start(lambda: self._run(token, started), "ws callbacks")

    def _run(self, token: int, started: object) -> None:
        if self._running.get(token) is not started:
            return  # run_callbacks() was interrupted, and called a second time
        callbacks = self._callbacks[token]
        try:
            # When _next() returns None, the notifier names the token again at the next change.
            while (data := callbacks.ws._next()) is not None:
                begun = time.monotonic_ns()
                callbacks.run_on_message(data)
                callbacks.ws._note_callback(begun)
        except ConnectionClosed as error:
            del self._callbacks[token]
            self._running.pop(token, None)
            begun = time.monotonic_ns()
            callbacks.run_on_close(error.code, error.reason.encode())
            callbacks.ws._note_callback(begun)
        except BaseException:
            # The close is a change, for which this is started again, to call on_close.
            self._running.pop(token, None)
            callbacks.ws.close(1011, "internal error")
            raise
        else:
            self._running.pop(token, None)

    def start(self, run: Callable[[], None], name: str) -> None:
        """Start a handler in a greenlet."""
        raise NotImplementedError

    def current(self) -> Any:
        """The greenlet that runs."""
        raise NotImplementedError

    def switch_away(self, greenlet: Any, seconds: float | None) -> None:
        """Switch to the hub, which switches back to the greenlet when the time is over, or wake()
        does."""
        raise NotImplementedError

    def report(self, greenlet: Any, error: BaseException) -> None:
        """A greenlet has ended with an exception: do what the hub does then. In an except block."""
        raise NotImplementedError

    def abandon(self) -> None:
        """In a forked child: stop watching the notifier, which is the parent's."""
        raise NotImplementedError


class Condition:
    """Like :class:`threading.Condition`, for greenlets of one hub, none of which switches away while it
    is in the ``with`` block.

    :param event: makes an event that greenlets wait for.
    :param happen: sets such an event.
    """

    def __init__(self, event: Callable[[], Any], happen: Callable[[Any], Any]) -> None:
        self._event = event
        self._happen = happen
        self._changed = event()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> None:
        self._changed.wait(timeout)

    def notify_all(self) -> None:
        changed, self._changed = self._changed, self._event()
        self._happen(changed)
