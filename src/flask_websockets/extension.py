"""The extension object: routes, channels, and what is connected."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, TypeVar

from flask import Blueprint, Flask, current_app, has_app_context
from werkzeug.local import LocalProxy
from werkzeug.routing import WebsocketMismatch

from . import msgpack, servers
from ._core import Engine
from .arguments import channel_names, explain_publish, not_a_websocket
from .async_websocket import AsyncWebSocket
from .config import Config
from .elsewhere import note_unheard
from .ending import handle_signals
from .errors import ConnectionClosed
from .handshake.middleware import Middleware
from .routes import Route, Routes
from .runtime import EXTENSION_KEY, OBJECT_KEY, Runtime
from .views import view_function
from .views.decoration import check_decorators, check_handler, check_path, check_rule_options
from .websocket import BaseWebSocket, WebSocket

__all__ = ("Subscription", "WebSockets")

H = TypeVar("H", bound=Callable[..., Any])


class WebSockets:
    """The Flask-WebSockets extension.

    It may have several applications. Then :meth:`publish`, :meth:`stats`, :meth:`close_all` and
    :attr:`connections` are about the current one, or without an application context the one that was
    bound last.

    :param app: the application; or None, and :meth:`init_app` later.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._routes = Routes()
        #: Of the application, unless there have been several.
        self._only_runtime: Runtime | None = None
        if app is not None:
            self._bind(app, sys._getframe(1))

    @property
    def app(self) -> Flask | None:
        """The application that was bound last; None before :meth:`init_app`. Of several, none is kept
        alive by this object."""
        apps = self._routes.apps
        return apps[-1] if apps else None

    @property
    def bp(self) -> Blueprint | None:
        """The blueprint that holds the routes made before :meth:`init_app`; None if there are none."""
        return self._routes.bp

    def init_app(self, app: Flask) -> None:
        """Bind the extension to an application; to several, one after the other. A second call with the
        same one does nothing.

        :param app: the application. It is given the routes made before the first call; and of those
            made since, what a module made that the same factory, or module, has this called for.
        :raises TypeError: for what is no Flask application.
        :raises RuntimeError: when the application has another WebSockets object already.
        :raises ConfigurationError: for a ``WEBSOCKETS_`` key that is unknown or has a bad value.
        """
        self._bind(app, sys._getframe(1))

    def _bind(self, app: Flask, frame: FrameType) -> None:
        if isinstance(app, LocalProxy):
            app = app._get_current_object()
        if not isinstance(app, Flask):
            raise TypeError(
                f"WebSockets is bound to a Flask application, not to {app!r}"
                + (
                    ", whose routes are made with route(path, bp=…)"
                    if isinstance(app, Blueprint)
                    else ""
                )
            )
        Config.from_mapping(app.config)  # only to raise for mistakes now, not at the first handshake
        bound = app.extensions.get(OBJECT_KEY)
        if bound is self:
            return
        if bound is not None:
            raise RuntimeError(
                f"the application {app.name!r} has a WebSockets object already; make all of its routes "
                'with that one, which is app.extensions["flask_websockets"]'
            )
        runtime = Runtime(app)
        app.extensions[OBJECT_KEY] = self
        app.extensions[EXTENSION_KEY] = runtime
        app.register_error_handler(WebsocketMismatch, view_function.respond_to_mismatch)
        view_function.answer_once(app)
        handle_signals()
        problem = servers.start_problem()
        if problem is not None:
            runtime.log_once(logging.WARNING, problem)
        app.wsgi_app = Middleware(  # type: ignore[method-assign]
            app.wsgi_app, runtime, self._routes.note_unmatched
        )
        first = not self._routes.is_bound
        self._routes.bind(app, frame)
        self._only_runtime = runtime if first else None

    # ---- routes ----

    def route(
        self,
        path: str,
        bp: Blueprint | None = None,
        *,
        decorators: Iterable[Callable[[Any], Any]] = (),
        **rule_options: Any,
    ) -> Callable[[H], H]:
        """Decorate a function or a :class:`WebSocketView` to handle the websockets of a URL. It stands
        on top of other decorators.

        The function is called with the :class:`WebSocket` and the values of the URL, within the
        request context of the handshake. Returning closes with 1000, an exception with 1011.

        :param path: the URL rule, as for ``app.route``.
        :param bp: a blueprint to register the route on, instead of the application.
        :param decorators: a list of decorators such as flask-login's ``login_required``, of the view
            function that Flask calls: they run before the handler, whichever kind that is, and what
            they refuse is refused as plain HTTP. The first is the innermost.
        :param rule_options: further options of ``app.route``; ``websocket=True`` is set.
        :raises TypeError: when what is decorated could not work as a handler, and why.
        :raises ValueError: for ``methods`` other than GET.
        """
        check_path(path, bp)
        check_rule_options(rule_options)
        rule_options["websocket"] = True
        given = check_decorators(decorators, "decorators")

        def decorate(handler: H) -> H:
            check_handler(handler, path)
            of_class = getattr(handler, "decorators", ()) if isinstance(handler, type) else ()
            route = Route(path, handler, (*of_class, *given), rule_options)
            if bp is not None:
                route.register(bp)
            else:
                self._routes.add(route, sys._getframe(1))
            return handler

        return decorate

    # ---- channels ----

    def subscribe(self, ws: BaseWebSocket, channels: str | Iterable[str]) -> Subscription:
        """Subscribe a websocket to channels, at once.

        Subscriptions are counted: a channel that it is subscribed to already takes as many
        :meth:`unsubscribe` more, so that ``with`` blocks of the same channel may be nested. A name
        that is given twice in one call counts once.

        :param ws: the websocket; its handshake is answered if that has not happened.
        :param channels: names, each ``str`` of 1 to 255 bytes in UTF-8; a bare ``str`` is one name.
        :returns: what can be used in a ``with`` statement, to unsubscribe at its end.
        :raises ConnectionClosed: when the websocket is closing or closed.
        :raises TypeError, ValueError: for other arguments; nothing is subscribed then.
        """
        engine = self._engine_of(ws, "subscribe", channels)
        names = channel_names(channels)
        if not engine.subscribe(ws, names):
            raise ConnectionClosed(ws.close_code or 1006, ws.close_reason or "")
        return Subscription(self, ws, names)

    def unsubscribe(self, ws: BaseWebSocket, channels: str | Iterable[str] | None = None) -> None:
        """Take back subscriptions, one of each channel; nothing that is published later is sent to it.

        Once the websocket has closed nothing is published to it any more, and ``ws.channels`` still
        names what it was subscribed to.

        :param ws: the websocket.
        :param channels: names, as for :meth:`subscribe`; None ends all of them, however often it was
            subscribed. Names that it is not subscribed to are passed over.
        :raises TypeError, ValueError: for other arguments; nothing has changed then.
        """
        self._engine_of(ws, "unsubscribe", channels).unsubscribe(ws, channels)

    def publish(
        self,
        data: Any,
        channels: str | Iterable[str],
        encode_json: bool = False,
        encode_msgpack: bool = False,
        *,
        exclude: BaseWebSocket | Iterable[BaseWebSocket] | None = None,
    ) -> int:
        """Send one message to every websocket that is subscribed to any of the channels, once to
        each. Never waits; ``WEBSOCKETS_SLOW_CONSUMER`` says what happens to a slow subscriber.

        The message is queued when this returns, and the engine's thread gives it to the subscribers:
        those of one thread in the order of the calls, and before what that thread sends to the same
        websocket, or its close, afterwards. Whoever publishes faster than that helps with it.

        May be called from anywhere in the process, also while that ends: it returns how many it has
        reached. When ``WEBSOCKETS_CLOSE_TIMEOUT`` is over by then, and the interpreter waits for
        nothing but the application's own threads, it ends one that calls it (by SystemExit): a clock
        that publishes for ever would otherwise keep the process.

        :param data: ``str`` for a text message, bytes-like for a binary one; any value with one of
            the two encodings.
        :param channels: names, as for :meth:`subscribe`.
        :param encode_json: encode with the app's JSON provider, and send as text.
        :param encode_msgpack: encode with msgspec, and send as binary.
        :param exclude: websockets that do not get it.
        :returns: how many websockets are subscribed, each counted once, without the excluded ones;
            0 before :meth:`init_app`, when nobody can be.
        :raises TypeError, ValueError: for other arguments; nothing is sent then.
        """
        # Whoever publishes now and then finds nothing of this in a cache: short means quick here.
        if self.app is None:
            return 0  # a clock's thread may run before the application is made
        runtime = self._runtime()
        if encode_json or encode_msgpack:
            data = encode(runtime.app, data, encode_json, encode_msgpack)
        if runtime.shutting_down:
            end_lingering_thread(runtime.end_deadline)
        try:
            reached = runtime.engine.publish(data, channels, exclude)
        except TypeError as error:
            raise explain_publish(data, channels, error) from None
        if not reached and not runtime._started:
            note_unheard()
        return reached

    # ---- what is connected ----

    @property
    def connections(self) -> frozenset[WebSocket | AsyncWebSocket]:
        """The open websockets of the application, in this process."""
        return self._runtime().connections()

    def stats(self) -> dict[str, Any]:
        """What this process has counted since its start; cheap enough for every second.

        :returns: ``connections`` (not finished now), ``opens`` (connections since the start),
            ``refusals`` (handshakes that were answered with something else than 101: by their view, a
            ``before_request`` function or a decorator, or for what is wrong with them),
            ``messages_in``,
            ``messages_out``, ``bytes_in``, ``bytes_out``, ``queued_bytes`` (not taken yet by the peers'
            sockets, now), ``closes`` (finished connections, a dict by close code), ``slow_consumers``
            (closed, or messages dropped, for slowness), ``loop_wakeups``, ``threads_refused`` (times
            that the system had no thread, or no memory for Python's part of one, for callbacks of class
            views, which then run a tenth of a second later); and, each a dict of ``p50``, ``p99`` and
            ``max`` in seconds: ``callback_time`` (of class views), ``loop_lag`` (how long the engine's
            loop took for a turn, which is what something ready may wait). ``routes`` is a dict by the
            rule of each route that was asked for: its ``endpoint``, and the same from ``opens`` to
            ``slow_consumers``, and ``callback_time``, of its websockets alone.
        """
        runtime = self._runtime()
        routes = {
            name: {"endpoint": route.endpoint, **route.counters()}
            for name, route in list(runtime.routes.items())
        }
        return {**runtime.engine.counters(), "routes": routes}

    def close_all(self, code: int = 1001, reason: str | None = "") -> int:
        """Start the closing handshake of every websocket of the application, in this process.

        :param code: the close code, as for :meth:`WebSocket.close`.
        :param reason: the close reason, at most 123 bytes in UTF-8.
        :returns: of how many.
        :raises ValueError: for a code that may not be sent, or a longer reason; nothing is closed then.
        :raises TypeError: for a reason that is no ``str``; likewise.
        """
        return self._runtime().engine.close_all(code, reason)

    # ---- which application ----

    def _runtime(self) -> Runtime:
        """The runtime of the only application; of several, that of the current one, or else of the one
        that was bound last."""
        if self._only_runtime is not None:
            return self._only_runtime
        app = current_app if has_app_context() else self.app
        runtime: Runtime | None = app.extensions.get(EXTENSION_KEY) if app else None
        if runtime is None:
            raise RuntimeError("WebSockets is not bound to an application: call init_app() first")
        return runtime

    def _engine_of(self, ws: BaseWebSocket, method: str, channels: object) -> Engine:
        if not isinstance(ws, BaseWebSocket):
            raise not_a_websocket(method, ws, channels)
        return ws._upgrade.engine


def encode(app: Flask, data: Any, as_json: bool, as_msgpack: bool) -> str | bytes:
    if as_json and as_msgpack:
        raise ValueError("encode_json and encode_msgpack exclude each other")
    return app.json.dumps(data) if as_json else msgpack.encode(data)


def end_lingering_thread(deadline: float) -> None:
    """End the thread that calls this, if it is one of the application's that the interpreter waits
    for at its end, and the time is over. Those of this package are daemons, for which it does not wait.

    :param deadline: of ``time.monotonic()``.
    """
    if time.monotonic() < deadline:
        return
    thread = threading.current_thread()
    # Among greenlets, `threading` shows as the main thread, or as a dummy, what was not started by it.
    if not thread.daemon and type(thread).__name__ not in ("_MainThread", "_DummyThread"):
        raise SystemExit


class Subscription:
    """Subscriptions of one websocket; as a context manager, ends them when the block is left, however
    it is left.

    :ivar ws: the websocket.
    :ivar channels: the names, a tuple of ``str``.
    """

    def __init__(self, websockets: WebSockets, ws: BaseWebSocket, channels: Iterable[str]) -> None:
        self._websockets = websockets
        self.ws = ws
        self.channels = tuple(channels)

    def unsubscribe(self) -> None:
        """End these subscriptions."""
        self._websockets.unsubscribe(self.ws, self.channels)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unsubscribe()
