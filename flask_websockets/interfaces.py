"""What the modules of this package expect of objects whose classes import them, so that no module has
to import, even for its types, one that imports it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from . import _core

__all__ = ("Callbacks", "Condition", "Handlers", "Handshake", "TaskWebSocket")


class Condition(Protocol):
    """As much of :class:`threading.Condition` as is used here."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc_info: Any) -> Any: ...

    def wait(self, timeout: float | None = None) -> Any: ...

    def notify_all(self) -> None: ...


class Handshake(Protocol):
    """The handshake of a websocket, as the websocket needs it."""

    engine: _core.Engine

    def accept(
        self,
        ws: Any,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
        /,
    ) -> bool:
        """Answer with 101 and give the connection to the engine; False if that has happened."""


class Callbacks(Protocol):
    """The callbacks of a class view, as an event loop runs them that the engine does not know."""

    @property
    def ws(self) -> _core.WebSocket:
        """The websocket that they belong to."""

    def message(self, data: str | bytes) -> None:
        """Run ``on_message``; raises nothing."""

    def end(self, code: int, reason: bytes) -> None:
        """Run ``on_close``, after which there is no more callback; raises nothing."""


class TaskWebSocket(Protocol):
    """A websocket whose handler is a task of the asyncio event loop."""

    @property
    def _token(self) -> int: ...

    @property
    def _task(self) -> asyncio.Task[None]: ...

    @property
    def closed(self) -> bool: ...


class Handlers(Protocol):
    """Starts handlers, and knows how they wait."""

    @property
    def notifier(self) -> _core.Notifier | None:
        """What tells the event loop of greenlets that a websocket has changed; None: handlers are
        threads."""

    @property
    def wait(self) -> Callable[[int, float | None], None] | None:
        """``wait(token, seconds)``, as ``Engine.attach`` takes it."""

    def start(self, run: Callable[[], None], name: str) -> None:
        """Start a handler.

        :param run: the handler, which raises nothing.
        :param name: for debuggers and ``ps``.
        :raises RuntimeError, MemoryError: when there is no thread to be had.
        """

    def begin(self, events: Callbacks) -> None:
        """Let the callbacks of a class view begin; its websocket is attached."""

    def condition(self) -> Condition:
        """For the few places where a handler and its server wait for each other."""
