"""Exceptions of async views that no code of theirs takes: of their tasks, and of callbacks that they
have given to the event loop. Each is logged once, and ends nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

from flask import Flask, got_request_exception

from ..errors import invalid_message, only_closed
from ..interfaces import TaskHandler

__all__ = ("HANDLER", "claim", "exception_handler", "handler_of", "log", "report_to_app")

#: The handler that a task belongs to: its own, or that which started it, through whatever other tasks.
HANDLER: ContextVar[TaskHandler | None] = ContextVar("flask_websockets.handler", default=None)

#: Where there is no application to ask for its own.
logger = logging.getLogger("flask_websockets")

#: The attribute of an exception that has been logged.
LOGGED = "_flask_websockets_logged"


def claim(error: BaseException) -> bool:
    """May the caller log this exception? True for the first one that asks: SystemExit comes out of the
    event loop, and to whoever awaits the task that has raised it."""
    if getattr(error, LOGGED, False):
        return False
    with contextlib.suppress(Exception):  # a class of the application's may forbid attributes
        setattr(error, LOGGED, True)
    return True


def context_of(task: object) -> Context:
    """A copy of the context of a task; that of the caller if it is not known, as before Python 3.12."""
    get_context = getattr(task, "get_context", None)
    context: Context = copy_context() if get_context is None else get_context().copy()
    return context


def handler_of(task: object) -> TaskHandler | None:
    """The handler that a task belongs to; None when it is not known, as before Python 3.12."""
    get_context = getattr(task, "get_context", None)
    return None if get_context is None else get_context().get(HANDLER)


def log(app: Flask | None, level: int, text: str, *values: object, error: Any = None) -> None:
    """Log to an application's logger; without one, to the logger ``flask_websockets``."""
    (logger if app is None else app.logger).log(level, text, *values, exc_info=error)


def report_to_app(app: Flask | None, error: BaseException, text: str, *values: object) -> None:
    """Log an exception, and send the signal that Flask sends for one of a view; unless it was logged
    before, or is a disconnect; or a peer's invalid message, for which that is closed."""
    invalid = invalid_message(error)
    if invalid is not None and invalid.ws is not None:
        invalid.close(invalid.ws)
        return
    if only_closed(error) or not claim(error):
        return
    log(app, logging.ERROR, text, *values, error=error)
    if app is None:
        return
    try:
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    except BaseException as raised:
        log(app, logging.ERROR, "Exception in a receiver of got_request_exception", error=raised)


def exception_handler(
    app_of: Callable[[object], Flask | None],
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """A handler for ``loop.set_exception_handler``.

    :param app_of: the application that a task belongs to, if that is known.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        source = context.get("task") or context.get("future") or context.get("handle")
        if error is None:  # a task that was forgotten, say
            loop.default_exception_handler(context)
        else:
            text = "Exception in the event loop of the async views (%s): %r"
            app, message = app_of(source), context.get("message")
            # In its context, so that the receivers of the signal see its request.
            context_of(source).run(report_to_app, app, error, text, message, source)

    return handle
