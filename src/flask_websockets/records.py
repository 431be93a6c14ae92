"""What is logged of websockets, by the logger ``flask_websockets``; see docs/records.md.

Nothing here is done for a message. What is logged where a peer may bring it about as often as it likes
is said once a minute.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from ._core import BaseWebSocket

__all__ = ("LOGGER", "Seldom", "ended", "fault_reason", "limit_met", "warn_seldom")

LOGGER = logging.getLogger("flask_websockets")

#: The limits that the engine closes for, by the code and the reason that it closes with.
LIMITS = {
    (1008, "message in too many fragments"): "WEBSOCKETS_MAX_FRAGMENTS",
    (1008, "too many messages a second"): "WEBSOCKETS_MAX_MESSAGE_RATE",
    (1009, "message too big"): "WEBSOCKETS_MAX_MESSAGE_SIZE",
    (1009, "message too big after decompression"): "WEBSOCKETS_MAX_MESSAGE_SIZE",
    (1013, "slow consumer"): "WEBSOCKETS_SEND_BUFFER",
}

#: The longest reason of a close frame, bytes (:rfc:`6455#section-5.5`).
REASON_MAX = 123


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
        return self._said.setdefault(key, now) is now

    def _forget(self, now: float) -> None:
        for key, said in list(self._said.items()):
            if now - said >= self._interval:
                self._said.pop(key, None)


#: For what is logged once a minute.
seldom = Seldom()


def warn_seldom(key: str | tuple[str, ...], message: str, *values: Any, **fields: Any) -> None:
    """Log a warning, unless one with this key was logged in the last minute.

    :param key: ``str`` or a tuple of ``str``.
    :param message: and ``values``, as for :meth:`logging.Logger.warning`. Those may come from outside:
        none of them writes a line of its own.
    :param fields: attributes of the record.
    """
    if LOGGER.isEnabledFor(logging.WARNING) and seldom(key):
        LOGGER.warning(message, *map(printable, values), extra=fields)


def limit_met(key: str, message: str, *values: Any) -> None:
    """A limit of the configuration was met, and something was refused or closed for it: the operator
    may have meant another. Logged once a minute for each key.

    :param key: of the configuration; it is the attribute ``limit`` of the record.
    :param message: what has happened, followed by the key in the log.
    """
    warn_seldom(key, message + ": %s is reached (said once a minute)", *values, key, limit=key)


# ---- the end of a connection ----


def ended(ws: BaseWebSocket) -> None:
    """Log the end of a websocket, once however often this is called. Called when its view is done with
    it: when the handler has ended, or ``on_close`` has returned; and when the server has stopped.

    Nothing is logged of a handshake that was refused. Nothing is raised: whoever calls this still has
    to count the websocket out.
    """
    try:
        end = ws._conclude()
        if end is not None:
            warn_of_limit(ws, *end[:4])
            if LOGGER.isEnabledFor(logging.INFO):
                log_end(ws, *end)
    except Exception:  # of a filter of the application, say; shown as logging shows those of handlers
        if logging.raiseExceptions and sys.stderr is not None:
            traceback.print_exc()


def warn_of_limit(ws: BaseWebSocket, code: int, reason: str, side: str, failed: bool) -> None:
    limit = LIMITS.get((code, reason)) if failed and side == "server" else None
    if limit is not None:
        limit_met(
            limit,
            "the WebSocket of %s at %s was closed with %s (%s)",
            getattr(ws, "remote_addr", None),
            rule_of(ws),
            code,
            reason,
        )


def log_end(
    ws: BaseWebSocket,
    code: int,
    reason: str,
    side: str,
    failed: bool,
    seconds: float,
    messages_in: int,
    messages_out: int,
) -> None:
    user = None if ws.user is None else text_of(ws.user)
    address = getattr(ws, "remote_addr", None)
    fields = {
        "websocket": ws.id,
        "code": code,
        "reason": reason,
        "side": side,
        "route": rule_of(ws),
        "endpoint": ws.endpoint,
        "address": address,
        "user": user,
        "seconds": round(seconds, 6),
        "messages_in": messages_in,
        "messages_out": messages_out,
    }
    # What comes from outside is made printable, so that nobody can write lines of the log.
    LOGGER.info(
        "WebSocket %s of %s%s closed by %s with %s%s after %.3f s, %s messages in, %s out",
        rule_of(ws),
        printable(address),
        "" if user is None else f" ({printable(user)})",
        side,
        code,
        f" {reason!r}" if reason else "",
        seconds,
        messages_in,
        messages_out,
        extra=fields,
    )


def rule_of(ws: BaseWebSocket) -> str | None:
    return ws._route.rule if ws._route is not None else None


def text_of(user: object) -> str:
    """The str of the application's object, which may fail, as one of a database that is closed."""
    try:
        return str(user)
    except Exception as error:
        return f"<{type(user).__name__}: its str() raised {type(error).__name__}>"


def printable(text: object) -> str:
    """On one line, whatever characters it has."""
    text = str(text)
    return text if text.isprintable() else repr(text)


# ---- how a handler has ended ----


def fault_reason(debug: bool, error: BaseException) -> str:
    """The reason of the close frame with 1011. Under a debugger it names the exception's type; never
    what the exception says, which may be meant for nobody outside.

    :param debug: that of the application.
    """
    reason = f"internal error: {type(error).__name__}" if debug else "internal error"
    return reason.encode("utf-8", "replace")[:REASON_MAX].decode("utf-8", "ignore")
