"""The 101 as Flask sees it: a response, for which the after_request functions run and the session is
saved, once. Both are in its header fields, :rfc:`6455#section-1.3`."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, abort
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, InternalServerError

from ..context import (
    handle_exception,
    is_interrupt,
    process_response,
    report,
    request_context,
    session_of,
)
from ..records import warn_seldom
from .refusals import PlainAnswer, plain_response

__all__ = (
    "AlreadyAnswered",
    "answer_instead",
    "answer_sent",
    "fields_of_101",
    "warn_of_time_out",
    "warn_of_what_is_lost",
)

#: What a 101 has no use for, as it has no content; and what the handshake itself sets.
NOT_SENT = frozenset(
    ("content-type", "content-length", "upgrade", "connection", "transfer-encoding", "date", "server")
)


class AlreadyAnswered(Response):
    """What a view returns when its handshake has been answered meanwhile. Nothing of it is sent; but
    middlewares around the application are given a status, as every answer has one.

    :param status: the code of the answer that the client has got.
    """

    def __init__(self, status: int = 101) -> None:
        self.__dict__.update(ALREADY_ANSWERED)
        if status != 101:
            self.status_code = status
        self.headers = Headers()
        self.response = []
        self._on_close = []

    def __call__(self, environ: Any, start_response: Any) -> tuple[bytes, ...]:
        start_response(self.status, [])
        return ()


#: What all of them have in common, made once, as making a response takes long.
ALREADY_ANSWERED = dict(Response(status=101).__dict__)


def fields_of_101(
    app: Flask, fields: list[tuple[str, str]]
) -> tuple[list[tuple[str, str]], Response | None]:
    """The header fields of the 101, after the after_request functions have run and the session has been
    saved. To be called in the request's context.

    :param fields: those that the handler has given to accept().
    :returns: and the response, if :func:`answer_sent` has something to do.
    :raises HTTPException: when an after_request function has made another answer of it, with that.
    """
    response = app.response_class(status=101)
    response.headers.extend(fields)
    response = process_response(app, response)
    if response.status_code != 101:
        if response.is_streamed and not response.direct_passthrough:
            response.make_sequence()  # in this context, which stream_with_context() has entered
        abort(response)
    note_answer()
    sent = [
        (name, value)
        for name, value in response.headers.to_wsgi_list()
        if name.lower() not in NOT_SENT and not name.lower().startswith("sec-websocket-")
    ]
    return sent, response if response._on_close else None


def answer_sent(app: Flask, response: Response) -> None:
    """Call what the response is to call when it has been sent (``call_on_close``), as the server does
    for a page. To be called in the request's context. What that raises is reported: the websocket is
    open."""
    try:
        response.close()
    except BaseException as error:
        if is_interrupt(error):
            raise
        report(app, error)


def answer_instead(app: Flask, error: BaseException, environ: dict[str, Any]) -> PlainAnswer:
    """The answer of a handshake that the server's thread could not accept, as an after_request function
    has failed: that of any page. To be called in the request's context.

    :raises BaseException: what is to be shown (in debug mode), or to end the process.
    """
    if isinstance(error, HTTPException):
        return plain_response(error.get_response(environ), environ)
    if not isinstance(error, Exception):
        if is_interrupt(error):
            raise error
        report(app, error)
        return plain_response(InternalServerError().get_response(environ), environ)
    return plain_response(handle_exception(app, error), environ)


def warn_of_time_out(environ: dict[str, Any]) -> None:
    """Whoever waits for the decision has refused the handshake."""
    warn_seldom(
        "WEBSOCKETS_HANDSHAKE_TIMEOUT",
        "a WebSocket handshake of %s was not decided within WEBSOCKETS_HANDSHAKE_TIMEOUT",
        environ.get("PATH_INFO", ""),
        limit="WEBSOCKETS_HANDSHAKE_TIMEOUT",
    )


# ---- the session, and what else is the answer's ----


def note_answer() -> None:
    """What changes in the session from now on is lost: :func:`warn_of_what_is_lost` tells by this. So
    are functions that are given to ``after_this_request``."""
    context = request_context()
    assert context is not None
    context._after_request_functions.clear()
    session = session_of(context)
    if session is not None and getattr(session, "modified", False) is not False:
        try:
            session.modified = False
        except AttributeError:  # that of a class of the application's, say
            return


def warn_of_what_is_lost(app: Flask) -> None:
    """Log it if the current request's session was changed after the 101, which had the cookie, or a
    function was given to ``after_this_request``. To be called when the handler has ended."""
    context = request_context()
    if context is None:
        return
    if context._after_request_functions:
        app.logger.warning(
            "after_this_request() was called in the WebSocket %s after its handshake had been "
            "answered: the function is not run. Call it before the first use of the websocket.",
            context.request.path,
        )
    session = session_of(context)
    # A class of sessions that does not tell whether they were modified says that all of them were.
    if session is None or getattr(session, "__dict__", {}).get("modified") is not True:
        return
    app.logger.warning(
        "The session was changed in the WebSocket %s after its handshake had been answered, and is not "
        "saved: the answer has taken the cookie with it. Change it before the first use of the "
        "websocket, or in an ordinary page.",
        context.request.path,
    )
