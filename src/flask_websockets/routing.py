"""From a handler, function or class, to a Flask view: handshake, handler, end."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.routing import WebsocketMismatch

from . import handshake
from ._core import list_contains
from .asynchronous import AsyncHandler, AsyncWebSocket, Returned, is_async
from .context import fail, keep_context
from .errors import ConnectionClosed
from .runtime import RUNTIME_KEY, Runtime
from .upgrade import (
    ENVIRON_KEY,
    EVENT_LOOP,
    NO_SOCKET_KEY,
    OWN_THREAD,
    SERVER_THREAD,
    VIEW_MARK,
    PlainAnswer,
    Upgrade,
)
from .views import ViewCallbacks, WebSocketView, check_view
from .websocket import WebSocket

__all__ = ("check_handler", "check_rule_options", "make_view", "respond_to_mismatch")

Handler = Callable[..., Any]


def check_handler(handler: Handler) -> None:
    """Refuse at decoration what could not work at the first connection."""
    if inspect.isclass(handler):
        check_view(handler)
        return
    if not callable(handler):
        raise TypeError(f"route() decorates a function, not {type(handler).__name__}")
    if inspect.isasyncgenfunction(handler):
        raise TypeError(f"{handler.__name__}() is an async generator; a handler yields nothing")


def check_rule_options(options: dict[str, Any]) -> None:
    methods = options.get("methods")
    if methods is not None and {str(method).upper() for method in methods} != {"GET"}:
        raise ValueError("a WebSocket route has no methods: its handshake is always a GET")


def make_view(handler: Handler) -> Callable[..., Any]:
    """The Flask view function of a handler.

    :param handler: a function, called with the :class:`WebSocket` and the values of the URL; or a
        :class:`WebSocketView`.
    """
    kind: type[WebSocket | AsyncWebSocket] = WebSocket
    run: Callable[..., Any] = run_function_view
    place = OWN_THREAD
    if inspect.isclass(handler):
        run, place = run_class_view, SERVER_THREAD
    elif is_async(handler):
        run, place, kind = run_async_view, EVENT_LOOP, AsyncWebSocket

    @functools.wraps(handler, updated=())
    def view(*args: Any, **values: Any) -> Any:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        handshake_request: Request = request._get_current_object()  # type: ignore[attr-defined]
        runtime: Runtime = app.extensions[RUNTIME_KEY]
        refusal = handshake.refusal(handshake_request, runtime.config)
        if refusal is not None:
            return refusal
        upgrade: Upgrade | None = handshake_request.environ.get(ENVIRON_KEY)
        if upgrade is None:
            return no_socket()
        ws = kind(upgrade, handshake_request.remote_addr, app.json)
        admission = runtime.admit_websocket(ws)
        if isinstance(admission, str):
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
                    if upgrade.accepted:
                        ws.close(1011, "internal error")  # does nothing if it has been closed
                    admission.discard()
                    runtime.notify()
        return AlreadyAnswered() if lives_on else result

    setattr(view, VIEW_MARK, place)
    return view


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
        result = handler(ws, *args, **values)
    except ConnectionClosed as error:
        if upgrade.handler_ended() and not ws.closed:  # it was another websocket's
            fail(app, ws, error)
    except Exception as error:
        if not upgrade.handler_ended():
            raise  # still plain HTTP: Flask answers, be it abort(401) or a bug
        fail(app, ws, error)
    except BaseException:
        if upgrade.handler_ended():
            ws.close(1011, "internal error")
        raise
    else:
        if not upgrade.handler_ended() and result is not None:
            return result
        with contextlib.suppress(ConnectionClosed):  # the handshake was refused with 503 meanwhile
            ws.close(1000)
    return AlreadyAnswered()


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
    runtime: Runtime = app.extensions[RUNTIME_KEY]
    view: WebSocketView = handler()
    callbacks = ViewCallbacks(view, ws, runtime, upgrade.admission, upgrade.context)
    upgrade.handler_started(ws, handshake_request, callbacks)
    try:
        result = view.on_open(ws, *args, **values)
        if not upgrade.accepted:
            if result is not None:
                return result
            upgrade.accept(ws, None, None)
    except BaseException as error:
        if not upgrade.accepted:
            raise  # still plain HTTP: Flask answers, be it abort(401) or a bug
        callbacks.failed(error)
    if callbacks.context is not None:
        callbacks.request_context = keep_context()
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
    runtime: Runtime = app.extensions[RUNTIME_KEY]
    start = functools.partial(handler, ws, *args, **values)
    async_handler = AsyncHandler(start, ws, upgrade, app, runtime)
    upgrade.handler_started(ws, handshake_request)
    outcome = async_handler.start()
    if isinstance(outcome, PlainAnswer):
        return Response(outcome.body, outcome.status, outcome.headers)
    if isinstance(outcome, Returned):
        return outcome.value
    upgrade.on_request_end = async_handler.request_ended
    async_handler.request_context = keep_context()
    return LIVES_ON


class AlreadyAnswered(Response):
    """What a view returns whose handshake was accepted. The after_request functions are given it;
    nothing of it is sent, as the 101 has been."""

    def __init__(self) -> None:
        self.__dict__.update(ALREADY_ANSWERED)
        self.headers = Headers()
        self.response = []
        self._on_close = []

    def __call__(self, environ: Any, start_response: Any) -> tuple[bytes, ...]:
        return ()


#: What all of them have in common, made once, as making a response takes long.
ALREADY_ANSWERED = dict(Response(status=101).__dict__)


def no_socket() -> Response:
    """501, when the connection cannot be taken over from the server."""
    text = request.environ.get(NO_SOCKET_KEY) or (
        "This request has not come through app.wsgi_app as WebSockets(app) left it, or its path was "
        "changed on the way. Wrap app.wsgi_app after WebSockets(app), and keep what it finds there."
    )
    current_app.logger.error(text)
    return Response(text + "\n", status=501, mimetype="text/plain")


def too_many(key: str, address: str | None) -> Response:
    """503, and a line in the log that names the limit: the operator may have meant another."""
    current_app.logger.warning("a WebSocket handshake from %s was refused: %s is reached", address, key)
    response = Response(
        "Too many WebSocket connections; try again later.\n", status=503, mimetype="text/plain"
    )
    response.headers["Retry-After"] = "5"
    return response


def respond_to_mismatch(error: WebsocketMismatch) -> Any:
    """Instead of Werkzeug's bare 400: what to do about a plain request of a WebSocket URL, or a
    handshake on an ordinary page."""
    runtime: Runtime = current_app.extensions[RUNTIME_KEY]
    headers = request.headers
    if list_contains(headers.get("Upgrade", ""), "websocket") and list_contains(
        headers.get("Connection", ""), "upgrade"
    ):
        return Response(
            "This URL is an ordinary page, not a WebSocket.\n", status=400, mimetype="text/plain"
        )
    return handshake.refusal(request, runtime.config) or error
