"""What one Flask application has running in this process: its engine, its open websockets, its
handler threads, and their end."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref

from flask import Flask

from ._core import Engine
from .config import Config
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
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._engine: Engine | None = None
        self._open: set[WebSocket] = set()
        self._handlers = 0
        self._handlers_ended = threading.Condition(self._lock)
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
                self._engine = Engine(
                    ping_interval=config.ping_interval,
                    ping_timeout=config.ping_timeout,
                    close_timeout=config.close_timeout,
                    max_message_size=config.max_message_size,
                    receive_queue=config.receive_queue,
                    send_buffer=config.send_buffer,
                    slow_consumer=config.slow_consumer,
                )
                register_atexit(self)
            return self._engine

    # ---- websockets ----

    def add(self, ws: WebSocket) -> bool:
        """Count a websocket in; False beyond ``WEBSOCKETS_MAX_CONNECTIONS``."""
        limit = self.config.max_connections
        with self._lock:
            if len(self._open) >= limit:
                return False
            self._open.add(ws)
            return True

    def discard(self, ws: WebSocket) -> None:
        with self._lock:
            self._open.discard(ws)

    def connections(self) -> frozenset[WebSocket]:
        """The open websockets of this process."""
        with self._lock:
            candidates = list(self._open)
        return frozenset(ws for ws in candidates if ws._state == 1)

    # ---- handlers ----

    def enter_handler(self) -> bool:
        """Count a handler in; False beyond ``WEBSOCKETS_HANDLER_THREADS``."""
        limit = self.config.handler_threads
        with self._lock:
            if self._handlers >= limit or self.shutting_down:
                return False
            self._handlers += 1
            return True

    def leave_handler(self) -> None:
        with self._lock:
            self._handlers -= 1
            if self._handlers == 0:
                self._handlers_ended.notify_all()

    # ---- the end ----

    def shut_down(self) -> None:
        """Close every websocket with 1001 and wait, at most ``WEBSOCKETS_CLOSE_TIMEOUT``, for the
        peers to answer and the handlers to end."""
        self.shutting_down = True
        engine = self._engine
        if engine is None:
            return
        deadline = time.monotonic() + self.config.close_timeout
        engine.close_all(1001, "server shutting down")
        with self._lock:
            while self._handlers > 0 and time.monotonic() < deadline:
                self._handlers_ended.wait(max(0.0, deadline - time.monotonic()))
        engine.wait_empty(max(0.0, deadline - time.monotonic()))
        engine.stop()

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's is running here."""
        self._lock = threading.Lock()
        self._handlers_ended = threading.Condition(self._lock)
        self._handlers = 0
        self._open = set()
        if self._engine is not None:
            self._engine.after_fork()


#: All that live, for the hooks below; an application that is gone needs none.
runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


def register_atexit(runtime: Runtime) -> None:
    """Have the runtime shut down when the interpreter ends, before it waits for the application's own
    threads: they may be publishing for ever, and the peers are to hear of the end first."""
    reference = weakref.ref(runtime)

    def shut_down() -> None:
        alive = reference()
        if alive is not None:
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C: no more waiting
                alive.shut_down()

    # What concurrent.futures uses; atexit itself runs after the threads are joined.
    register = getattr(threading, "_register_atexit", atexit.register)
    register(shut_down)


def after_fork_in_child() -> None:
    for runtime in list(runtimes):
        runtime.after_fork()


os.register_at_fork(after_in_child=after_fork_in_child)
