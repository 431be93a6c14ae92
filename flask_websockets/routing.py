"""From a handler, function or class, to a Flask view: handshake, handler, end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.routing import WebsocketMismatch

from . import handshake
from ._core import list_contains
from .asynchronous import AsyncWebSocket, Returned, Running, is_async
from .context import keep_context, report
from .errors import ConnectionClosed
from .runtime import EXTENSION_KEY, Runtime
from .upgrade import APART, ASYNC, ENVIRON_KEY, HERE, NO_SOCKET_KEY, VIEW_MARK, Refused, Upgrade
from .views import IN_CALLBACK, Events, WebSocketView, check_view
from .websocket import WebSocket

__all__ = ("answer_mismatch", "check_handler", "check_rule_options", "make_view")

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
    kind: type[WebSocket] = WebSocket
    run, where = run_function_view, APART
    if inspect.isclass(handler):
        run, where = run_class_view, HERE
    elif is_async(handler):
        run, where, kind = run_async_view, ASYNC, AsyncWebSocket

    @functools.wraps(handler, updated=())
    def view(*args: Any, **values: Any) -> Any:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        runtime: Runtime = app.extensions[EXTENSION_KEY]
        refused = handshake.refusal(asked, runtime.config)
        if refused is not None:
            return refused
        upgrade: Upgrade | None = asked.environ.get(ENVIRON_KEY)
        if upgrade is None:
            return no_socket()
        ws = kind(upgrade, asked.remote_addr, app.json)
        exceeded = runtime.add(ws)
        if exceeded is not None:
            return too_many(exceeded, ws.remote_addr)
        kept = False
        try:
            result = run(handler, ws, upgrade, asked, app, args, values)
            kept = result is KEPT
        finally:
            if not kept:
                runtime.discard(ws)
        return Ended() if kept else result

    setattr(view, VIEW_MARK, where)
    return view


#: In place of the view's answer: the websocket lives on without it.
KEPT = object()


def run_function_view(
    handler: Handler,
    ws: WebSocket,
    upgrade: Upgrade,
    asked: Request,
    app: Flask,
    args: Any,
    values: Any,
) -> Any:
    upgrade.enter(ws, asked)
    try:
        result = handler(ws, *args, **values)
    except ConnectionClosed:
        upgrade.leave()
    except Exception as error:
        if not upgrade.leave():
            raise  # still plain HTTP: Flask answers, be it abort(401) or a bug
        report(app, error)
        ws.close(1011, "internal error")
    except BaseException:
        if upgrade.leave():
            ws.close(1011, "internal error")
        raise
    else:
        if not upgrade.leave() and result is not None:
            return result
        ws.close(1000)
    return Ended()


def run_class_view(
    handler: Handler,
    ws: WebSocket,
    upgrade: Upgrade,
    asked: Request,
    app: Flask,
    args: Any,
    values: Any,
) -> Any:
    """The opening of a class view, until its websocket needs nobody any more."""
    assert upgrade.context is not None
    runtime: Runtime = app.extensions[EXTENSION_KEY]
    view: WebSocketView = handler()
    events = Events(view, ws, app, runtime, upgrade.context)
    IN_CALLBACK.set(True)
    upgrade.enter(ws, asked, events)
    try:
        result = view.on_open(ws, *args, **values)
        if not upgrade.accepted:
            if result is not None:
                return result
            upgrade.accept(ws, None, None)
    except BaseException as error:
        if not upgrade.accepted:
            raise  # still plain HTTP: Flask answers, be it abort(401) or a bug
        events.failed(error)
    if events.context is not None:
        events.request_context = keep_context()
    return KEPT


def run_async_view(
    handler: Handler,
    ws: WebSocket,
    upgrade: Upgrade,
    asked: Request,
    app: Flask,
    args: Any,
    values: Any,
) -> Any:
    """The opening of an async view, until its coroutine has decided."""
    assert upgrade.context is not None
    assert isinstance(ws, AsyncWebSocket)
    runtime: Runtime = app.extensions[EXTENSION_KEY]
    start = functools.partial(handler, ws, *args, **values)
    running = Running(start, ws, upgrade, app, runtime, upgrade.context)
    upgrade.enter(ws, asked)
    answer = running.start()
    if isinstance(answer, Refused):
        return Response(answer.body, answer.status, answer.headers)
    if isinstance(answer, Returned):
        return answer.value
    upgrade.begins = running.begin
    running.request_context = keep_context()
    return KEPT


class Ended(Response):
    """What the view returns in the end, for the after_request functions to see: the answer has been
    sent long since."""

    def __init__(self) -> None:
        self.__dict__.update(ENDED)
        self.headers = Headers()
        self.response = []
        self._on_close = []

    def __call__(self, environ: Any, start_response: Any) -> tuple[bytes, ...]:
        return ()


#: What all of them have in common; to make a response costs more than it looks.
ENDED = dict(Response(status=101).__dict__)


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


def answer_mismatch(error: WebsocketMismatch) -> Any:
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
    return handshake.refusal(request, runtime.config) or error
