"""The exceptions of the public API."""

from __future__ import annotations

import builtins
import sys
from typing import Any

__all__ = ("ConfigurationError", "ConnectionClosed", "InvalidMessage", "invalid_message", "only_closed")


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


class InvalidMessage(ValueError):
    """A message of the peer's is not what it was to be decoded as.

    Raised by ``receive_json``, ``iter_json``, ``receive_msgpack``, ``decode_json`` and
    ``decode_msgpack``. A handler may catch it and go on; ``iter_json`` then goes on with the next
    message. When a handler lets it escape, the websocket is closed with 1007 and a reason that says
    what the message is not; that is in the record of the connection's end, and nothing else is logged,
    because it is the peer's fault.

    :ivar expected: what it is not, ``"JSON"`` or ``"MessagePack"``.
    :ivar data: the message, ``str`` or ``bytes``.
    :ivar ws: the websocket that it has come by.

    What the decoder has raised is its ``__cause__``: a ValueError, or a RecursionError of a message
    that is nested too deep.
    """

    def __init__(self, expected: str, data: str | bytes = "", ws: Any = None) -> None:
        super().__init__(expected)  # without the data, which may be long, and would be in its repr()
        self.expected = expected
        self.data = data
        self.ws = ws

    def close(self, ws: Any) -> None:
        """Close a websocket for this message."""
        ws.close(1007, f"invalid {self.expected}")

    def __str__(self) -> str:
        return f"a message is not {self.expected}: {self.__cause__ or 'it cannot be decoded'}"


class ConfigurationError(ValueError):
    """A ``WEBSOCKETS_`` key of ``app.config`` is unknown or has a value that it cannot have."""


def only_closed(error: BaseException) -> bool:
    """Is this :class:`ConnectionClosed`, or a group of exceptions that hold nothing else, however deep?
    A task group raises such a one when a peer leaves that its tasks were receiving from or sending to.
    """
    return all(isinstance(one, ConnectionClosed) for one in leaves(error))


def invalid_message(error: BaseException, ws: object = None) -> InvalidMessage | None:
    """The :class:`InvalidMessage` that this is; or the first one in a group of exceptions that holds
    nothing else, besides :class:`ConnectionClosed`. None when anything else is wrong.

    :param ws: the websocket that it must have come by; None: any.
    """
    others = [one for one in leaves(error) if not isinstance(one, ConnectionClosed)]
    invalid = [
        one
        for one in others
        if isinstance(one, InvalidMessage) and (ws is None or one.ws in (ws, None))
    ]
    return invalid[0] if invalid and len(invalid) == len(others) else None


def leaves(error: BaseException) -> list[BaseException]:
    """The exception itself; of a group of exceptions, those in it, however deep."""
    # Python 3.10 has no groups of its own; there the package exceptiongroup has them, once imported.
    home = builtins if hasattr(builtins, "BaseExceptionGroup") else sys.modules.get("exceptiongroup")
    group: Any = getattr(home, "BaseExceptionGroup", ())
    found, errors = [], [error]
    while errors:
        error = errors.pop(0)
        if isinstance(error, group):
            errors = [*error.exceptions, *errors]
        else:
            found.append(error)
    return found
