"""What one Flask application has running in this process: its engine, its open websockets, its
handler threads, and their end."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - for its hook, see shut_down_all()
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.routing import Rule

from ._core import Admission, Engine, Quota, Route, set_serving
from .addresses import limit_of
from .config import Compression, Config
from .handlers import current_executor
from .interfaces import Condition
from .records import ended as record_end
from .settings import Settings
from .websocket import BaseWebSocket, WebSocketState

__all__ = ("Runtime",)

#: Where ``app.extensions`` has what its users look for: the ``WebSockets`` object.
OBJECT_KEY = "flask_websockets"
#: Where it has the runtime.
EXTENSION_KEY = "flask_websockets.runtime"

#: What the peers are told at the end, with 1001.
CLOSE_REASON = "server shutting down"

#: Seconds: how often the end looks by itself whether all have ended. An admission that ends because its
#: owner was freed notifies nobody.
LOOK_INTERVAL = 0.1

#: Seconds: how often the end looks, among greenlets, whether the peers have answered.
GREENLETS_INTERVAL = 0.02

#: Which key of the configuration a limit of ``Quota.admit`` is.
EXCEEDED = {
    "limit": "WEBSOCKETS_MAX_CONNECTIONS_PER_ADDRESS",
    "limit_of_all": "WEBSOCKETS_MAX_CONNECTIONS",
}


class Runtime:
    """The running part of the extension for one application.

    No method holds a lock in which Python code may run, be it that of a ``__del__`` or of a signal
    handler: such code may call the public API, which would take the lock again in the same thread. What
    is decided and counted, or made if it is not there yet, is one step of C under the GIL instead:
    ``Quota.admit``, ``Admission.discard``, ``dict.setdefault``.

    :param app: the application; its configuration is read at the first handshake, so that it may
        still be filled in after ``init_app``.
    """

    #: Made at its first use; its thread starts with the first connection. An attribute, because a
    #: property takes 5 of the 54 us of a publish() that finds nothing in a cache.
    engine: Engine

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.shutting_down = False
        #: When ``WEBSOCKETS_CLOSE_TIMEOUT`` is over, once the end has begun; of ``time.monotonic()``.
        self.end_deadline = math.inf
        self._started = False
        self._config: Config | None = None
        #: What the configuration was when it was read.
        self._settings: Settings | None = None
        #: The websockets, each counted under the name of its address.
        self._websocket_quota = Quota()
        self._handler_quota = Quota()
        #: The handshakes that a server's thread waits for (instances of ``Upgrade``), as members: each
        #: is refused when the end begins.
        self.undecided = Quota()
        self._all_ended: Condition | None = None
        self._logged: dict[str, bool] = {}
        #: What else is called when the end begins, with this runtime; by the name of who put it here.
        self.ends: dict[str, Callable[[Runtime], None]] = {}
        #: The async views of which it was said that they block the event loop.
        self.named_as_blocking: set[str] = set()
        #: By the text of the rule, for what has been asked for by a handshake.
        self.routes: dict[str, Route] = {}
        runtimes.add(self)

    @property
    def config(self) -> Config:
        """The checked configuration, fixed from the first handshake on."""
        if self._config is None:  # two threads may each read it, with the same result
            settings = Settings(self.app.config)
            self._config = Config.from_mapping(self.app.config)
            self._settings = settings
        return self._config

    if not TYPE_CHECKING:  # to mypy any name would be an attribute

        def __getattr__(self, name: str) -> Engine:
            """Called for what is not there; once it is, the engine is an attribute as any other."""
            if name != "engine":
                raise AttributeError(f"Runtime has no attribute {name!r}")
            return self._make_engine()

    def _engine_if_made(self) -> Engine | None:
        return self.__dict__.get("engine")

    def _make_engine(self) -> Engine:
        config = self.config
        compression = config.compression or Compression()
        made = Engine(
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
        # If several are made at once, all callers get the first; the others have no thread yet.
        engine: Engine = self.__dict__.setdefault("engine", made)
        register_atexit()
        if "end" in happened:
            self.shutting_down = True
        return engine

    @property
    def started(self) -> bool:
        """Has there been a handshake in this process, and is this not the end?"""
        return self._started and not self.shutting_down

    def start(self) -> bool:
        """To be called at a handshake; False when the runtime is shutting down, and it is refused."""
        if not self._started:
            self._started = True
            set_serving(True)
        if self._settings is not None and self._settings.have_changed():
            self._settings = self._settings.warn()
        return not self.shutting_down

    def log_once(self, level: int, text: str) -> None:
        """Log what is wrong with how the application is run, and every handshake would say again."""
        if text not in self._logged:
            self._logged[text] = True  # of two threads both may log it
            self.app.logger.log(level, "%s", text)

    # ---- websockets and handlers ----

    def route_of(self, rule: Rule | None) -> Route:
        """What counts the websockets of a rule.

        :param rule: ``request.url_rule``; None only where a view is called without a request's.
        """
        name = name_of(rule)
        found = self.routes.get(name)
        if found is None:  # several threads may each make one, and the first stays
            made = Route(self.engine, name, rule.endpoint if rule is not None else "")
            found = self.routes.setdefault(name, made)
        return found

    @property
    def _open(self) -> dict[BaseWebSocket, str]:
        """The websockets that are counted, each with the name that it is counted under."""
        return self._websocket_quota.members()

    @property
    def _handlers(self) -> int:
        """How many handlers of function views run."""
        return self._handler_quota.total

    def admit_websocket(self, ws: BaseWebSocket) -> Admission | str:
        """Count a websocket in.

        :returns: what counts it until its ``discard`` is called, followed by :meth:`notify`; or the key
            whose limit it would exceed, then it is not counted.
        """
        config = self.config
        name, limit = limit_of(ws.remote_addr, config.max_connections_per_address)
        admission = self._websocket_quota.admit(name, limit, config.max_connections, ws)
        return EXCEEDED[admission] if isinstance(admission, str) else admission

    def admit_handler(self) -> Admission | None:
        """Count a handler in; None beyond ``WEBSOCKETS_HANDLER_THREADS``."""
        admission = self._handler_quota.admit("", self.config.handler_threads, 0)
        return None if isinstance(admission, str) else admission

    def connections(self) -> frozenset[Any]:
        """The open websockets of this process."""
        return frozenset(ws for ws in self._open if ws._state == WebSocketState.OPEN)

    def notify(self) -> None:
        """Something has been counted out: if the end waits for that, let it look."""
        ended = self._all_ended
        if ended is not None:
            ended.notify_all()

    # ---- the end ----

    def shut_down(self) -> None:
        """Refuse every handshake from now on, also those that a server's thread waits for; close every
        websocket with 1001; and wait, at most ``WEBSOCKETS_CLOSE_TIMEOUT``, for the peers to answer and
        the handlers to end; what has not by then is logged. A second call does nothing."""
        if self.begin_end():
            self.wait_for_end()

    def begin_end(self) -> bool:
        """The part of :meth:`shut_down` that does not wait.

        :returns: whether the other part is to be called.
        """
        before, self.shutting_down = self.shutting_down, True
        engine = self._engine_if_made()
        if before or engine is None or not self._started:
            return False
        self.end_deadline = time.monotonic() + self.config.close_timeout
        engine.close_all(1001, CLOSE_REASON)
        for handshake in self.undecided.members():
            handshake.shut_down()
        for end in list(self.ends.values()):
            end(self)
        return True

    def wait_for_end(self) -> None:
        """The part of :meth:`shut_down` that waits."""
        engine = self.engine
        try:
            self._wait_for_ends(engine, self.end_deadline)
            engine.stop()  # which cuts off those that are left, and runs their on_close
        except BaseException:  # somebody does not want to wait: see shut_down_all()
            self.end_deadline = 0.0
            raise
        finally:
            for ws in self._open:  # whose view has not ended in time, and perhaps never does
                record_end(ws)
        if self._counted():
            self.app.logger.warning(
                "shut down with %s handlers and %s websockets that had not ended after %s s; what a "
                "class view's on_close would have done is not done",
                self._handlers,
                self._websocket_quota.total,
                self.config.close_timeout,
            )

    def _wait_for_ends(self, engine: Engine, deadline: float) -> None:
        """In short waits, between which Python calls the handlers of signals: of a second Ctrl-C."""

        def short_wait() -> float:
            return min(LOOK_INTERVAL, max(0.0, deadline - time.monotonic()))

        executor = current_executor()
        self._all_ended = ended = executor.condition()
        with ended:  # wait for the handlers, and for the class views, whose on_close is called
            while self._counted() and time.monotonic() < deadline:
                ended.wait(short_wait())
        greenlets = executor.notifier is not None  # one of which may be what handles the signal
        while not engine.wait_empty(0.0 if greenlets else short_wait()):
            if time.monotonic() >= deadline:
                return
            if greenlets:
                ended.wait(min(GREENLETS_INTERVAL, short_wait()))

    def _counted(self) -> int:
        return self._handler_quota.total + self._websocket_quota.total

    def after_fork(self) -> None:
        """In a forked child: no websocket and no handler of the parent runs here."""
        self._started = False
        self.undecided = Quota()
        self._all_ended = None
        self.ends.clear()
        self._handler_quota = Quota()
        self._websocket_quota = Quota()
        engine = self._engine_if_made()
        if engine is not None:
            engine.after_fork()


def name_of(rule: Rule | None) -> str:
    """The rule as it is written, with its host or subdomain if it has one."""
    if rule is None:
        return ""
    return f"{rule.host or rule.subdomain or ''}{rule.rule}"


#: All runtimes of this process, for the hooks below.
runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


#: What has happened in this process, as keys: each is set in one step of C.
happened: dict[str, object] = {}


def is_waited_for() -> bool:
    """Does the interpreter wait at its end for a thread that goes on?"""
    return any(
        thread.is_alive() and not thread.daemon and thread is not threading.main_thread()
        for thread in threading.enumerate()
    )


def shut_down_all() -> None:
    """Shut all runtimes down, as the interpreter ends: at the same time, so that several applications
    take no longer than one."""
    happened["end"] = None  # before any is looked for: one that is made from now on sees it
    interrupt: BaseException | None = None
    for runtime in [runtime for runtime in list(runtimes) if runtime.begin_end()]:
        if interrupt is not None:
            runtime.end_deadline = 0.0
            continue
        try:
            runtime.wait_for_end()
        # A second Ctrl-C, which some servers handle by ending once more: nothing is waited for.
        except (KeyboardInterrupt, SystemExit) as error:
            interrupt = error
    if interrupt is not None and is_waited_for():
        raise interrupt  # which ends the interpreter's own waiting as well


def register_atexit() -> None:
    """Have the runtimes shut down when the interpreter ends, before that waits for the application's
    own threads, which may be publishing for ever. Registered once: runtimes come and go."""
    mine = object()
    if happened.setdefault("registered", mine) is not mine:
        return
    # The former runs before the threads are joined, what was registered last first: so before that of
    # concurrent.futures, which joins its threads, and starts none any more. (It registers when it is
    # imported, so this module imports it.) atexit runs after that; it is for eventlet, whose patched
    # threading ends without the former.
    if hasattr(threading, "_register_atexit"):
        try:
            threading._register_atexit(shut_down_all)
        except RuntimeError:  # the interpreter has begun to end
            happened["end"] = None
    atexit.register(shut_down_all)
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None:  # under gevent its workers exit without the interpreter's end
        also = getattr(uwsgi, "atexit", None)

        def last() -> None:
            shut_down_all()
            if also is not None:
                also()

        uwsgi.atexit = last


def after_fork_in_child() -> None:
    set_serving(False)
    for runtime in list(runtimes):
        runtime.after_fork()


os.register_at_fork(after_in_child=after_fork_in_child)
