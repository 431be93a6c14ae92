"""The decision about the handshake of an async view: whoever accepts, the server's thread answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..context import is_interrupt
from ..interfaces import Condition
from ..websocket import BaseWebSocket
from .upgrade import ACCEPTING, LOOK_INTERVAL, Upgrade

__all__ = ("AsyncUpgrade",)


class Asked:
    """A call of accept() that waits for the server's thread to do it."""

    __slots__ = ("answered", "arguments", "error", "is_done", "pending", "result")

    def __init__(self, answered: Condition, *arguments: Any) -> None:
        self.answered = answered
        self.arguments = arguments
        #: What was to be accepted before this, when the accept delay is over.
        self.pending: tuple[BaseWebSocket, float] | None = None
        self.result = False
        self.error: BaseException | None = None
        self.is_done = False


class AsyncUpgrade(Upgrade):
    """What before_request functions have opened may belong to the server's thread, and a coroutine
    function among those of after_request can be called in no event loop. So that thread, which waits
    for the decision anyway, runs them and saves the session. Who accepts waits for it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        #: Under the lock of ``_changed``.
        self._asked: list[Asked] = []

    def accept(
        self,
        ws: BaseWebSocket,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
        after_delay: bool = False,
    ) -> bool:
        """As that of :class:`Upgrade`; by any thread."""
        if self.accepted or ACCEPTING.get() is self:
            return super().accept(ws, subprotocol, headers, after_delay)
        if not after_delay:
            return self._ask(Asked(self._executor.condition(), ws, subprotocol, headers))
        with self._changed:
            asked = self._asked.pop(0) if self._asked else None
        if asked is not None:
            return self._do(asked)
        return super().accept(ws, subprotocol, headers, after_delay)

    def _ask(self, asked: Asked) -> bool:
        with self._changed:
            self._open_request()  # raises what there is to say if it is decided
            if self._pending_accept is None:
                raise RuntimeError("the handshake was refused: its handler has ended")
            asked.pending = self._pending_accept
            self._asked.append(asked)
            self._pending_accept = (asked.arguments[0], 0.0)
            self._changed.notify_all()  # for which the server's thread waits, and no other may
        with asked.answered:
            while not (asked.is_done or self._is_passed_over(asked)):
                asked.answered.wait(LOOK_INTERVAL)
        if not (asked.is_done or self.accepted):
            self._open_request()
        error, asked.error = asked.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # it refers to this frame
        return asked.result

    def _is_passed_over(self, asked: Asked) -> bool:
        """Has something else decided, before the server's thread has come to this call?"""
        if not (self.accepted or self._outcome is not None):
            return False
        with self._changed:
            is_left = asked in self._asked
            if is_left:
                self._asked.remove(asked)
        return is_left

    def _do(self, asked: Asked) -> bool:
        """In the server's thread: answer, and tell who has asked. What fails is for that caller."""
        try:
            ws, subprotocol, headers = asked.arguments
            asked.result = super().accept(ws, subprotocol, headers, after_delay=True)
        except BaseException as error:
            asked.error = error
            if is_interrupt(error):
                raise
        finally:
            with self._changed:
                if self._pending_accept is not None and not self._asked:
                    self._pending_accept = asked.pending
            asked.is_done = True
            asked.answered.notify_all()
        return asked.result
