"""From a handler, function or class, to a Flask view: handshake, handler, end."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any, NoReturn

from flask import Flask, Request, Response, current_app, g, request
from werkzeug.exceptions import InternalServerError
from werkzeug.routing import WebsocketMismatch

from .._core import list_contains
from ..async_websocket import AsyncWebSocket
from ..context import fail, for_another_thread, is_interrupt, report, request_context, teardown_with
from ..errors import ConnectionClosed, only_closed
from ..handshake import opening
from ..handshake.answer import AlreadyAnswered, warn_of_time_out, warn_of_what_is_lost
from ..handshake.finished import FinishedHandshake
from ..handshake.refusals import PlainAnswer
from ..handshake.upgrade import Upgrade
from ..keys import ENVIRON_KEY, EVENT_LOOP, NO_SOCKET_KEY, OWN_THREAD, SERVER_THREAD, VIEW_MARK
from ..records import ended, limit_met
from ..runtime import EXTENSION_KEY, Runtime
from ..websocket import WebSocket
from .async_handler import AsyncHandler, Returned
from .callbacks import ViewCallbacks
from .class_view import WebSocketView
from .decoration import check_uncovered, is_async, name_of
from .returned import handler_name, lost_value, method_name, reject_unrun, reject_unrun_method
from .unit import UnitOfWork

__all__ = ("answer_once", "make_view", "respond_to_mismatch")

Handler = Callable[..., Any]


def make_view(handler: Handler, decorators: Iterable[Callable[[Any], Any]] = ()) -> Callable[..., Any]:
    """The Flask view function of a handler.

    :param handler: a function, called with the :class:`WebSocket` and the values of the URL; or a
        :class:`WebSocketView`.
    :param decorators: of the view function, as :attr:`flask.views.View.decorators`: the first is the
        innermost. What they refuse is refused as plain HTTP.
    :raises TypeError: when one of them returns no function.
    """
    kind: type[WebSocket | AsyncWebSocket] = WebSocket
    run: Callable[..., Any] = run_function_view
    place = OWN_THREAD
    if inspect.isclass(handler):
        run, place = run_class_view, SERVER_THREAD
    elif is_async(handler):
        run, place, kind = run_async_view, EVENT_LOOP, AsyncWebSocket

    unchecked = [handler]

    @functools.wraps(handler, updated=())
    def view(*args: Any, **values: Any) -> Any:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        handshake_request: Request = request._get_current_object()  # type: ignore[attr-defined]
        runtime: Runtime = app.extensions.get(EXTENSION_KEY) or not_bound(app)
        route = runtime.route_of(handshake_request.url_rule)
        upgrade: Upgrade | None = handshake_request.environ.get(ENVIRON_KEY)
        if upgrade is not None:
            upgrade.is_counted = True
        refusal = opening.refusal(handshake_request, runtime.config)
        if refusal is not None:
            route.note_refusal()
            return refusal
        if upgrade is None or upgrade.place != place:
            return no_socket()
        if unchecked:
            check_uncovered(handler)
            unchecked.clear()
        ws = kind(upgrade, handshake_request.remote_addr, app.json)
        ws._route = route
        admission = runtime.admit_websocket(ws)
        if isinstance(admission, str):
            route.note_refusal()
            return too_many(admission, ws.remote_addr)
        upgrade.admission = admission
        lives_on = False
        try:
            result = run(handler, ws, upgrade, handshake_request, app, args, values)
            lives_on = result is LIVES_ON
        finally:
            # Another thread may raise an exception in this one where a Python function begins, so what
            # must be done is done by functions of C.
            if not lives_on:
                try:
                    upgrade.view_ended()
                finally:
                    try:
                        if upgrade.accepted:
                            ws.close(1011, "internal error")  # does nothing if it has been closed
                            ended(ws)
                        else:
                            route.note_refusal()
                    finally:
                        if not upgrade.task_runs:  # its end will do that
                            admission.discard()
                            runtime.notify()
        return AlreadyAnswered() if lives_on else result

    view.__name__ = name_of(handler)  # functools.wraps() leaves it where the handler has none
    decorated: Callable[..., Any] = view
    for decorator in decorators:
        decorated = decorator(decorated)
        if not callable(decorated) or inspect.isclass(decorated):
            raise TypeError(
                f"the decorator {name_of(decorator)} of {name_of(handler)} has returned "
                f"{decorated!r}, which is no function"
            )
    try:
        setattr(decorated, VIEW_MARK, place)
    except AttributeError:  # a bound method, say, has no attributes of its own
        decorated = functools.partial(decorated)
        setattr(decorated, VIEW_MARK, place)
    return decorated


def not_bound(app: Flask) -> NoReturn:
    """The application has a blueprint with WebSocket routes, and nothing else of this extension."""
    raise RuntimeError(
        f"the application {app.name!r} has WebSocket routes of a blueprint, and no WebSockets object "
        "is bound to it: call websockets.init_app(app)"
    )


#: What a view returns when its websocket outlives the request.
LIVES_ON = object()


def run_function_view(
    handler: Handler,
    ws: WebSocket,
    upgrade: Upgrade,
    handshake_request: Request,
    app: Flask,
    args: Any,
    values: Any,
) -> Any:
    upgrade.handler_started(ws, handshake_request)
    try:
        result = reject_unrun(handler, handler(ws, *args, **values))
    except BaseException as error:
        if upgrade.handler_ended():
            end_with(app, ws, error)
        elif not (upgrade.server_answered and only_closed(error)):
            answer_with(app, error)
    else:
        if not upgrade.handler_ended() and result is not None:
            return result
        lost = lost_value(app, handler_name(handler), result)
        if lost is not None:
            end_with(app, ws, lost)
        with contextlib.suppress(ConnectionClosed):  # the handshake was refused with 503 meanwhile
            ws.close(1000)
    warn_of_what_is_lost(app)
    return AlreadyAnswered(upgrade.status)


def answer_with(app: Flask, error: BaseException) -> NoReturn:
    """A handler has ended with an exception before the handshake was accepted: it is answered in plain
    HTTP, as for any page. That a page calls ``sys.exit()`` ends no thread of the server's either.

    :raises BaseException: what Flask answers with: the exception itself, be it of ``abort(401)`` or a
        bug; or a 500 for one that Flask lets pass.
    """
    if isinstance(error, Exception) or is_interrupt(error):
        raise error
    report(app, error)
    teardown_with(error)  # Flask gives its own what it has not handled, and would be given the 500
    raise InternalServerError(original_exception=error) from error


def end_with(app: Flask, ws: WebSocket, error: BaseException) -> None:
    """A handler has ended with an exception after the handshake was accepted.

    :raises KeyboardInterrupt: a Ctrl-C for the process.
    """
    if only_closed(error) and ws.closed:  # else it was another websocket's
        return
    fail(app, ws, error)
    teardown_with(error)
    if is_interrupt(error):
        raise error


def run_class_view(
    handler: Handler,
    ws: WebSocket,
    upgrade: Upgrade,
    handshake_request: Request,
    app: Flask,
    args: Any,
    values: Any,
) -> Any:
    """The opening of a class view, in the server's thread."""
    assert upgrade.context is not None and upgrade.admission is not None
    runtime: Runtime = app.extensions[EXTENSION_KEY]
    view: WebSocketView = handler()
    callbacks = ViewCallbacks(view, ws, runtime, upgrade.admission, upgrade.context)
    upgrade.handler_started(ws, handshake_request, callbacks)
    try:
        result = reject_unrun_method(view, "on_open", view.on_open(ws, *args, **values))
        if not upgrade.accepted:
            if result is not None:
                return result
            upgrade.accept(ws, None, None)
        else:
            lost = lost_value(app, method_name(view, "on_open"), result)
            if lost is not None:
                raise lost
    except BaseException as error:
        if not upgrade.accepted:
            answer_with(app, error)
        callbacks.failed(error)
        if not callbacks.is_usual_end(error):
            teardown_with(error)
        if is_interrupt(error):
            raise
    finally:
        callbacks.opened()
    if view.context == "app":
        ws._environ = None  # the request ends
    return LIVES_ON


def run_async_view(
    handler: Handler,
    ws: AsyncWebSocket,
    upgrade: Upgrade,
    handshake_request: Request,
    app: Flask,
    args: Any,
    values: Any,
) -> Any:
    """The opening of an async view, until its coroutine has accepted or refused."""
    runtime: Runtime = app.extensions[EXTENSION_KEY]
    start = functools.partial(handler, ws, *args, **values)
    unit, context = UnitOfWork(app), copy_context()
    unit.inherit(g)
    handshake_context = request_context()
    assert handshake_context is not None
    context.run(unit.activate, for_another_thread(handshake_context))
    async_handler = AsyncHandler(start, ws, upgrade, runtime, unit, context)
    upgrade.handler_started(ws, handshake_request)
    try:
        outcome = async_handler.start()
    except BaseException as error:
        answer_with(app, error)
    if upgrade.timed_out:
        warn_of_time_out(handshake_request.environ)
    if isinstance(outcome, PlainAnswer):
        return Response(outcome.body, outcome.status, outcome.headers)
    return outcome.value if isinstance(outcome, Returned) else LIVES_ON


def answer_once(app: Flask) -> None:
    """Keep the after_request functions, and the session, from the response of a view whose handshake
    was accepted: they have had the 101, and nothing of that response is sent.

    ``app.process_response`` is what Flask documents to be overridden for that. It also sees every
    refusal of what comes before the view.
    """
    process = app.process_response

    def process_response(*arguments: Any) -> Any:
        upgrade: Upgrade | FinishedHandshake | None = request.environ.get(ENVIRON_KEY)
        if upgrade is not None:
            note_refusal_before(upgrade)
            if upgrade.accepted or upgrade.server_answered:
                return arguments[-1]
        return process(*arguments)

    app.process_response = process_response  # type: ignore[method-assign, assignment]


def note_refusal_before(upgrade: Upgrade | FinishedHandshake) -> None:
    """Count a refusal whose view was not reached: that of a ``before_request`` function or a
    decorator."""
    if request.url_rule is not None and not upgrade.is_counted:
        upgrade.is_counted = True
        runtime: Runtime = current_app.extensions[EXTENSION_KEY]
        runtime.route_of(request.url_rule).note_refusal()


def no_socket() -> Response:
    """501, when the connection cannot be taken over from the server."""
    text = request.environ.get(NO_SOCKET_KEY) or (
        "This request has not come through app.wsgi_app as WebSockets(app) left it, or its path was "
        "changed on the way. Wrap app.wsgi_app after WebSockets(app), and keep what it finds there."
    )
    runtime: Runtime = current_app.extensions[EXTENSION_KEY]
    runtime.log_once(logging.ERROR, text)
    return Response(text + "\n", status=501, mimetype="text/plain")


def too_many(key: str, address: str | None) -> Response:
    """503, and a line in the log that names the limit: the operator may have meant another."""
    limit_met(key, "a WebSocket handshake from %s was refused", address)
    response = Response(
        "Too many WebSocket connections; try again later.\n", status=503, mimetype="text/plain"
    )
    response.headers["Retry-After"] = "5"
    return response


def respond_to_mismatch(error: WebsocketMismatch) -> Any:
    """Instead of Werkzeug's bare 400: what to do about a plain request of a WebSocket URL, or a
    handshake on an ordinary page."""
    runtime: Runtime = current_app.extensions[EXTENSION_KEY]
    headers = request.headers
    if list_contains(headers.get("Upgrade", ""), "websocket") and list_contains(
        headers.get("Connection", ""), "upgrade"
    ):
        return Response(
            "This URL is an ordinary page, not a WebSocket.\n", status=400, mimetype="text/plain"
        )
    return opening.refusal(request, runtime.config) or error
