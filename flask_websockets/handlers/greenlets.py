"""What the event loops of gevent and eventlet have in common: greenlets that wait for websockets, and
the one descriptor that tells which of them to go on with.

Everything here runs in one thread, and only one greenlet runs at a time, so there is nothing to lock.
"""

from __future__ import annotations

from typing import Any

from .._core import Notifier

__all__ = ("EventLoop",)


class EventLoop:
    """The greenlets of one thread that wait for websockets.

    A subclass watches ``notifier`` and calls :meth:`wake` in its hub, which is the greenlet that runs
    the event loop.
    """

    def __init__(self) -> None:
        self.notifier = Notifier()
        #: By the token of the websocket that they wait for.
        self._waiting: dict[int, list[Any]] = {}

    def wait(self, token: int, seconds: float | None) -> None:
        """Let other greenlets run until the websocket has changed, or the time is over."""
        greenlet = self.current()
        waiting = self._waiting.setdefault(token, [])
        waiting.append(greenlet)
        try:
            self.switch_away(greenlet, seconds)
        finally:
            # After a time-out, or an exception that was thrown in. wake() has taken the list else.
            if self._waiting.get(token) is waiting:
                waiting.remove(greenlet)
                if not waiting:
                    del self._waiting[token]

    def wake(self, *_: Any) -> None:
        """In the hub: go on with the greenlets whose websockets have changed."""
        for token in self.notifier.take():
            for greenlet in self._waiting.pop(token, ()):
                greenlet.switch()

    def current(self) -> Any:
        """The greenlet that runs."""
        raise NotImplementedError

    def switch_away(self, greenlet: Any, seconds: float | None) -> None:
        """Switch to the hub, which switches back to the greenlet when the time is over, or wake()
        does."""
        raise NotImplementedError
