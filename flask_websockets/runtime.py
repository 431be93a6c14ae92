"""What one Flask application has running in this process: its engine, its open websockets, its
handler threads, and their end."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from typing import Any

from flask import Flask

from ._core import Engine
from .addresses import Addresses
from .config import Compression, Config
from .handlers import current_executor
from .interfaces import Condition
from .websocket import WebSocket

__all__ = ("Runtime",)

EXTENSION_KEY = "flask_websockets"


class Runtime:
    """The running part of the extension for one application.

    :param app: the application; its configuration is read at the first handshake, so that it may
        still be filled in after ``init_app``.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.shutting_down = False
        #: True once there has been a handshake in this process.
        self.started = False
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._engine: Engine | None = None
        #: The websockets, each with the name that its address is counted under.
        self._websockets: dict[WebSocket, str] = {}
        self._addresses = Addresses()
        self._handlers = 0
        self._all_ended: Condition | None = None
        runtimes.add(self)

    @property
    def config(self) -> Config:
        """The checked configuration, fixed from the first handshake on."""
        if self._config is None:
            self._config = Config.from_mapping(self.app.config)
        return self._config

    @property
    def engine(self) -> Engine:
        """The engine; its thread starts with the first connection."""
        with self._lock:
            if self._engine is None:
                config = self.config
                compression = config.compression or Compression()
                self._engine = Engine(
                    ping_interval=config.ping_interval,
                    ping_timeout=config.ping_timeout,
                    close_timeout=config.close_timeout,
                    send_timeout=config.send_timeout,
                    max_message_size=config.max_message_size,
                    max_fragments=config.max_fragments,
                    max_message_rate=config.max_message_rate,
                    receive_queue=config.receive_queue,
                    send_buffer=config.send_buffer,
                    slow_consumer=config.slow_consumer,
                    compression_level=compression.level,
                    compression_threshold=compression.threshold,
                    callback_threads=config.callback_threads,
                )
                register_atexit(self)
            return self._engine

    # ---- websockets ----

    def add_websocket(self, ws: WebSocket) -> str | None:
        """Count a websocket in.

        :returns: None, or the key whose limit it would exceed; then it is not counted.
        """
        config = self.config
        with self._lock:
            if len(self._websockets) >= config.max_connections:
                return "WEBSOCKETS_MAX_CONNECTIONS"
            name = self._addresses.add(ws.remote_addr, config.max_connections_per_address)
            if name is None:
                return "WEBSOCKETS_MAX_CONNECTIONS_PER_ADDRESS"
            self._websockets[ws] = name
            return None

    def discard_websocket(self, ws: WebSocket) -> None:
        """Count out a websocket that add_websocket() has counted in."""
        with self._lock:
            name = self._websockets.pop(ws, None)
            if name is not None:  # it is None in a forked child, where nothing was counted
                self._addresses.discard(name)
            ended = self._all_ended
        notify(ended)

    def connections(self) -> frozenset[WebSocket]:
        """The open websockets of this process."""
        with self._lock:
            candidates = list(self._websockets)
        return frozenset(ws for ws in candidates if ws._state == 1)

    # ---- handlers ----

    def add_handler(self) -> bool:
        """Count a handler in; False beyond ``WEBSOCKETS_HANDLER_THREADS``."""
        limit = self.config.handler_threads
        with self._lock:
            if self._handlers >= limit or self.shutting_down:
                return False
            self._handlers += 1
            self.started = True
            return True

    def discard_handler(self) -> None:
        """Count out a handler that add_handler() has counted in."""
        with self._lock:
            self._handlers -= 1
            ended = self._all_ended
        notify(ended)

    # ---- the end ----

    def shut_down(self) -> None:
        """Close every websocket with 1001 and wait, at most ``WEBSOCKETS_CLOSE_TIMEOUT``, for the
        peers to answer and the handlers to end."""
        self.shutting_down = True
        engine = self._engine
        if engine is None or not self.started:
            return
        self.started = False
        deadline = time.monotonic() + self.config.close_timeout
        engine.close_all(1001, "server shutting down")
        self._all_ended = ended = current_executor().condition()
        with ended:  # wait for the handlers, and for the class views, whose on_close is called
            while (self._handlers > 0 or self._websockets) and time.monotonic() < deadline:
                ended.wait(max(0.0, deadline - time.monotonic()))
        engine.wait_empty(max(0.0, deadline - time.monotonic()))
        engine.stop()

    def after_fork(self) -> None:
        """In a forked child: no websocket and no handler of the parent runs here."""
        self._lock = threading.Lock()
        self.started = False
        self._all_ended = None
        self._handlers = 0
        self._websockets = {}
        self._addresses = Addresses()
        if self._engine is not None:
            self._engine.after_fork()


def notify(condition: Condition | None) -> None:
    if condition is not None:
        with condition:
            condition.notify_all()


#: All runtimes of this process, for the hooks below.
runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


def register_atexit(runtime: Runtime) -> None:
    """Have the runtime shut down when the interpreter ends, before that waits for the application's own
    threads, which may be publishing for ever."""
    reference = weakref.ref(runtime)

    def shut_down() -> None:
        alive = reference()
        if alive is not None:
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C ends the waiting
                alive.shut_down()

    # concurrent.futures uses the former, which runs before the threads are joined. atexit runs after
    # that; it is for eventlet, whose patched threading ends without the former.
    if hasattr(threading, "_register_atexit"):
        threading._register_atexit(shut_down)
    atexit.register(shut_down)
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None:  # under gevent its workers exit without the interpreter's end
        also = getattr(uwsgi, "atexit", None)

        def last() -> None:
            shut_down()
            if also is not None:
                also()

        uwsgi.atexit = last


def after_fork_in_child() -> None:
    for runtime in list(runtimes):
        runtime.after_fork()


os.register_at_fork(after_in_child=after_fork_in_child)
