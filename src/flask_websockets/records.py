"""What is logged of websockets, by the logger ``flask_websockets``; see docs/records.md.

Nothing here is done for a message. What is logged where a peer may bring it about as often as it likes
is said once a minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ("LOGGER", "Seldom")

LOGGER = logging.getLogger("flask_websockets")


class Seldom:
    """Says of each key whether it is time for it: once in a while, and of a bounded number of keys.

    There is no lock, as Python code of a signal handler or ``__del__`` may come in between; each step
    is one of C under the GIL. A key must be a ``str``, or a tuple of such.

    :param interval: seconds between two times of one key.
    :param most: how many keys are remembered. While so many have come within the interval, further
        ones are passed over: clients may choose the keys, and neither memory nor the log is theirs.
    :param clock: seconds; for tests.
    """

    def __init__(
        self, interval: float = 60.0, most: int = 128, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._most = most
        self._clock = clock
        #: When each key was last said.
        self._said: dict[str | tuple[str, ...], float] = {}

    def __call__(self, key: str | tuple[str, ...]) -> bool:
        """Is it time for this key?"""
        now = self._clock()
        last = self._said.get(key)
        if last is None:
            if len(self._said) >= self._most:
                self._forget(now)
            # Only one of several threads finds its own number there.
            return len(self._said) < self._most and self._said.setdefault(key, now) is now
        if now - last < self._interval:
            return False
        found = self._said.pop(key, None)
        if found is not last:  # another thread was first
            if found is not None:
                self._said.setdefault(key, found)
            return False
        self._said[key] = now
        return True

    def _forget(self, now: float) -> None:
        for key, said in list(self._said.items()):
            if now - said >= self._interval:
                self._said.pop(key, None)
