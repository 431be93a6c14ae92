"""From a handler function to a Flask view: handshake, handler, end."""

from __future__ import annotations

import functools
import inspect
import secrets
import sys
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, current_app, got_request_exception, request
from werkzeug.datastructures import Headers
from werkzeug.routing import WebsocketMismatch

from . import handshake
from ._core import list_contains
from .errors import ConnectionClosed
from .runtime import EXTENSION_KEY, Runtime
from .upgrade import ENVIRON_KEY, NO_SOCKET_KEY, VIEW_MARK, Upgrade
from .websocket import WebSocket

__all__ = ("answer_mismatch", "check_handler", "check_rule_options", "make_view")

Handler = Callable[..., Any]


def check_handler(handler: Handler) -> None:
    """Refuse at decoration what could not work at the first connection."""
    if not callable(handler):
        raise TypeError(f"route() decorates a function, not {type(handler).__name__}")
    if inspect.isclass(handler):
        raise TypeError("route() decorates a function, not a class")
    if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"{handler.__name__}() is an async function; route() takes ordinary functions")


def check_rule_options(options: dict[str, Any]) -> None:
    methods = options.get("methods")
    if methods is not None and {str(method).upper() for method in methods} != {"GET"}:
        raise ValueError("a WebSocket route has no methods: its handshake is always a GET")


def make_view(handler: Handler) -> Callable[..., Any]:
    """The Flask view function of a handler.

    :param handler: called with the :class:`WebSocket` and the values of the URL.
    """

    @functools.wraps(handler)
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
        ws = WebSocket(upgrade, secrets.token_hex(16), asked.remote_addr, app.json)
        exceeded = runtime.add(ws)
        if exceeded is not None:
            return too_many(exceeded, ws.remote_addr)
        try:
            upgrade.enter(ws, asked)
            return run_handler(functools.partial(handler, ws, *args, **values), ws, upgrade)
        finally:
            runtime.discard(ws)

    setattr(view, VIEW_MARK, True)
    return view


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


def run_handler(handler: Callable[[], Any], ws: WebSocket, upgrade: Upgrade) -> Any:
    try:
        result = handler()
    except ConnectionClosed:
        upgrade.leave()
    except Exception as error:
        if not upgrade.leave():
            raise  # still plain HTTP: Flask answers, be it abort(401) or a bug
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
        app.log_exception(sys.exc_info())
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
