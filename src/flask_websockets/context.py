"""Flask's contexts around a handler, in every version of Flask, and the report of its exceptions."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import flask.globals
from flask import Flask, got_request_exception

from .errors import invalid_message
from .interfaces import Closable
from .records import fault_reason

if TYPE_CHECKING:
    from flask.ctx import AppContext, RequestContext  # the latter deprecated in later versions of Flask
    from flask.sessions import SessionMixin
    from flask.wrappers import Response

__all__ = (
    "MERGED",
    "carry_variables",
    "fail",
    "for_another_thread",
    "handle_exception",
    "is_interrupt",
    "keep_pushed",
    "process_response",
    "report",
    "request_context",
    "session_of",
    "teardown",
    "teardown_with",
)

#: Since Flask 3.2 the application context has the request as well; before, the request context is one
#: of its own, beside it.
MERGED = "request_ctx" not in vars(flask.globals)

_current: Any = flask.globals.app_ctx if MERGED else flask.globals.request_ctx

#: The context variables of Flask's own contexts.
FLASK_VARIABLES = {vars(flask.globals).get(name) for name in ("_cv_app", "_cv_request")}

#: What tells a context that it is pushed, in the place of what would restore the one before.
KEPT: Any = object() if MERGED else (None, None)


def request_context() -> RequestContext | None:
    """The context that has the current request; None when there is none."""
    if not _current:
        return None
    context: RequestContext = _current._get_current_object()
    return None if MERGED and not context.has_request else context  # type: ignore[attr-defined]


def session_of(context: RequestContext) -> SessionMixin | None:
    """The session of a request; None when it has not been opened. Not as ``flask.session``, which would
    count as an access."""
    held = vars(context)  # until Flask 3.1.2 under its own name, which counts nothing
    session: SessionMixin | None = held["_session"] if "_session" in held else held["session"]
    return session


def keep_pushed(context: Any) -> None:
    """Let a context that is the current one be entered and left, as by ``stream_with_context``, without
    its teardown: that is not its end. To be called while it is not pushed.

    :param context: an ``AppContext`` or a ``RequestContext``.
    """
    if MERGED:
        context._push_count = 1
        context._cv_token = KEPT
    else:
        context._cv_tokens[:] = [KEPT]


def for_another_thread(context: RequestContext) -> RequestContext:
    """The context of the same request for another thread, while the request ends in this one."""
    if MERGED:  # a unit of work has its request
        return context
    other = context.copy()
    other._after_request_functions = context._after_request_functions
    keep_pushed(other)
    return other


def carry_variables(context: Context) -> None:
    """Set the context variables of the current context in another one, but for Flask's own contexts."""
    for variable, value in copy_context().items():
        if variable not in FLASK_VARIABLES and context.get(variable) is not value:
            context.run(variable.set, value)


def teardown_with(error: BaseException) -> None:
    """Have the teardown functions of the current request given an exception that Flask does not see, as
    the handshake was answered before it."""
    context = request_context()
    if context is None:
        return
    leave = context.pop

    def pop(exc: BaseException | None = None) -> None:
        vars(context).pop("pop", None)  # or else it refers to itself
        leave(error if exc is None else exc)

    context.pop = pop  # type: ignore[method-assign]


# ---- what Flask's methods are given: since 3.2, the context first ----


def _call(method: Callable[..., Any], *arguments: Any) -> Any:
    if MERGED:
        return method(flask.globals.app_ctx._get_current_object(), *arguments)  # type: ignore[attr-defined]
    return method(*arguments)


def process_response(app: Flask, response: Response) -> Response:
    """Run the after_request functions and save the session."""
    processed: Response = _call(app.process_response, response)
    return processed


def teardown(app: Flask, context: AppContext, error: BaseException | None) -> None:
    """Run the functions of ``teardown_appcontext``.

    :param context: the current one.
    """
    if MERGED:
        app.do_teardown_appcontext(context, error)  # type: ignore[call-arg, arg-type]
    else:
        app.do_teardown_appcontext(error)


# ---- exceptions ----


def handle_exception(app: Flask, error: Exception) -> Response:
    """What Flask answers with to an exception that no error handler has taken, which it logs.

    :raises Exception: the exception, when it is to be shown (``PROPAGATE_EXCEPTIONS``, debug).
    """
    response: Response = _call(app.handle_exception, error)
    return response


def is_interrupt(error: BaseException) -> bool:
    """Is it a Ctrl-C that is meant for the whole process? Python raises it in whatever the main thread
    does, which may be a handler."""
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.main_thread().native_id == threading.get_native_id()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def report(app: Flask, error: BaseException, where: str = "") -> None:
    """Send the signal that Flask sends for an exception of a view, and log the exception. A receiver
    that fails is logged too.

    :param where: what has raised it, for the log, if there is no request context.
    """
    try:
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    except BaseException as failure:
        app.logger.error("Exception in a receiver of got_request_exception", exc_info=failure)
    if request_context() is None:
        app.logger.error("Exception in %s", where, exc_info=error)
    else:
        _call(app.log_exception, (type(error), error, error.__traceback__))


def fail(app: Flask, ws: Closable, error: BaseException) -> None:
    """The handler of an open websocket has ended with an exception: report it, and close with 1011. An
    invalid message is the peer's fault: 1007, and nothing else."""
    invalid = invalid_message(error, ws)
    if invalid is not None:
        invalid.close(ws)
        return
    try:
        report(app, error)
    finally:
        ws.close(1011, fault_reason(app.debug, error))
