"""The exceptions of the public API."""

from __future__ import annotations

import builtins
import sys
from typing import Any

__all__ = ("ConfigurationError", "ConnectionClosed", "only_closed")


class ConnectionClosed(RuntimeError):
    """The WebSocket connection is closing or closed.

    Raised by what sends on, or receives from, such a connection. A handler may let it escape: the
    connection has ended, and that is all.

    :ivar code: the close code of :rfc:`6455#section-7.1.5`, an ``int``. 1005: the peer gave none;
        1006: the connection was lost without a closing handshake.
    :ivar reason: the close reason of :rfc:`6455#section-7.1.6`, a ``str``, perhaps empty.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"connection closed with {self.code}" + (f" ({self.reason})" if self.reason else "")


class ConfigurationError(ValueError):
    """A ``WEBSOCKETS_`` key of ``app.config`` is unknown or has a value that it cannot have."""


def only_closed(error: BaseException) -> bool:
    """Is this :class:`ConnectionClosed`, or a group of exceptions that hold nothing else, however deep?
    A task group raises such a one when a peer leaves that its tasks were receiving from or sending to.
    """
    # Python 3.10 has no groups of its own; there the package exceptiongroup has them, once imported.
    home = builtins if hasattr(builtins, "BaseExceptionGroup") else sys.modules.get("exceptiongroup")
    group: Any = getattr(home, "BaseExceptionGroup", ())
    errors = [error]
    while errors:
        error = errors.pop()
        if isinstance(error, ConnectionClosed):
            continue
        if not isinstance(error, group):
            return False
        errors += error.exceptions
    return True
