"""What the modules of this package expect of objects whose classes import them, so that no module has
to import, even for its types, one that imports it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any, Protocol

from flask import Flask

from . import _core

__all__ = (
    "Callbacks",
    "Closable",
    "Condition",
    "Executor",
    "Handshake",
    "TaskHandler",
    "TaskWebSocket",
    "UnitWebSocket",
    "WebSocketOwner",
)


class Condition(Protocol):
    """As much of :class:`threading.Condition` as is used here."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc_info: Any) -> Any: ...

    def wait(self, timeout: float | None = None) -> Any: ...

    def notify_all(self) -> None:
        """Unlike that of :class:`threading.Condition`, it may be called without the lock."""


class Handshake(Protocol):
    """The handshake of a websocket, as the websocket needs it."""

    engine: _core.Engine

    @property
    def refused(self) -> bool:
        """Was it answered with plain HTTP, so that there is no connection?"""

    @property
    def environ(self) -> dict[str, Any] | None:
        """The WSGI environment, until it is accepted."""

    def accept(
        self,
        ws: Any,
        subprotocol: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
        /,
    ) -> bool:
        """Answer with 101 and give the connection to the engine; False if that has happened."""

    def hasten(self, ws: Any, /) -> bool:
        """Have the server's thread accept now; False when it is decided already."""


class Callbacks(Protocol):
    """The callbacks of a class view, for the websocket, which the engine calls; and for event loops,
    which run them instead of the engine."""

    @property
    def ws(self) -> _core.WebSocket:
        """The websocket that they belong to."""

    @property
    def context(self) -> Context:
        """What they run in."""

    @property
    def on_message(self) -> Callable[..., Any]:
        """What the engine calls with the websocket and a message."""

    def request_ended(self) -> None:
        """The request has ended in the server's thread, and the callbacks begin."""

    def unit_ended(self) -> None:
        """The call of ``on_message`` has returned in which ``_begin_unit`` was called."""

    def value_returned(self, value: Any) -> None:
        """``on_message`` has returned this, which is not None."""

    def failed(self, error: BaseException) -> None:
        """``on_message`` has raised this."""

    def closed(self, code: int, reason: bytes) -> None:
        """Call ``on_close``, after which there is no more callback."""

    def run_on_message(self, data: str | bytes) -> None:
        """Call ``on_message`` in its context, and :meth:`failed` when it raises."""

    def run_on_close(self, code: int, reason: bytes) -> None:
        """Call :meth:`closed` in that context."""


class Closable(Protocol):
    """A websocket that an error closes."""

    def close(self, code: int = ..., reason: str = ...) -> Any: ...


class UnitWebSocket(Protocol):
    """A websocket whose callbacks are units of work."""

    def _begin_unit(self) -> None:
        """Have the unit of work ended when the callback that runs has returned."""


class TaskWebSocket(Protocol):
    """A websocket whose handler is a task of the asyncio event loop."""

    @property
    def _token(self) -> int: ...

    def _changed(self) -> None:
        """Called in the event loop's thread when the notifier has named it."""


class WebSocketOwner(Protocol):
    """The handler of a websocket, as that needs it."""

    @property
    def has_ended(self) -> bool: ...

    def websocket_closed(self) -> None:
        """The websocket is closing or closed. Called in the event loop's thread, perhaps often."""


class TaskHandler(WebSocketOwner, Protocol):
    """A handler that is a task of the asyncio event loop, as that needs it."""

    @property
    def app(self) -> Flask: ...

    @property
    def runtime(self) -> object:
        """By which the event loop knows the handlers of one application."""

    @property
    def endpoint(self) -> str: ...

    @property
    def task(self) -> asyncio.Task[None] | None: ...

    @property
    def is_receiving(self) -> bool:
        """Does it wait for a message, so that nothing else can make it run?"""

    @property
    def named_as_blocking(self) -> set[str]:
        """Of its application: the views of which it was said that they block the event loop."""

    def server_ends(self) -> None:
        """The server stops: it is to end. Called in the event loop's thread."""


class Executor(Protocol):
    """What handlers run on: it starts them, and defines how they wait."""

    @property
    def notifier(self) -> _core.Notifier | None:
        """Names the websockets that have changed to the event loop; None when handlers are threads."""

    @property
    def wait(self) -> Callable[[int, float | None], None] | None:
        """``wait(token, seconds)``, as ``Engine.attach`` takes it."""

    def start(self, run: Callable[[], None], name: str) -> None:
        """Start a handler.

        :param run: the handler, which raises nothing.
        :param name: for debuggers and ``ps``.
        :raises RuntimeError, MemoryError: when there is no thread to be had.
        """

    def run_callbacks(self, callbacks: Callbacks) -> None:
        """Run the callbacks of a class view from now on; its websocket is attached."""

    def condition(self) -> Condition:
        """A new condition, for a handler and its server's thread to wait for each other."""
