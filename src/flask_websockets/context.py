"""The request context of a handshake, which outlives the request, and the report of its exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, got_request_exception
from flask.globals import request_ctx

from .interfaces import Closable

if TYPE_CHECKING:
    from flask.ctx import RequestContext  # deprecated in later versions of Flask

__all__ = ("fail", "keep_context", "leave_context", "report")


def keep_context() -> RequestContext:
    """Enter the current request context once more, so that the end of the request does not leave it.

    :returns: the context, to be given to :func:`leave_context`.
    """
    context: RequestContext = request_ctx._get_current_object()  # type: ignore[attr-defined]
    context.push()
    return context


def leave_context(app: Flask, context: RequestContext) -> None:
    """Leave a context that :func:`keep_context` has kept, which runs the teardown functions. It must be
    the current one."""
    try:
        context.pop(None)
    except Exception as error:
        app.logger.error("Exception in a teardown function", exc_info=error)


def report(app: Flask, error: BaseException) -> None:
    """Log an exception of a handler, in its request context, and send the signal that Flask sends for
    an exception of a view."""
    try:
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    finally:
        app.log_exception((type(error), error, error.__traceback__))  # type: ignore[arg-type]


def fail(app: Flask, ws: Closable, error: BaseException) -> None:
    """The handler of an open websocket has ended with an exception: report it, and close with 1011."""
    try:
        report(app, error)
    finally:
        ws.close(1011, "internal error")
