"""Between TLS connections and the engine: one thread that speaks TLS to the peers, and plain bytes to
the engine over a socket pair each.

It is a native thread even if gevent or eventlet have replaced the threads of Python, because it must
not wait for an event loop, as the engine's threads do not.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import logging
import os
import sys
import time
from collections import deque
from typing import Any

from .._core import Descriptor, name_thread
from .relayed import ERROR, HUNG_UP, NOT_WATCHED, READABLE, TLS, Connection

logger = logging.getLogger("flask_websockets")

__all__ = ("Relay", "native_pair", "relay")

#: How long a peer may take none of the remaining bytes once the engine has finished with the
#: connection, seconds.
LAST_BYTES_TIMEOUT = 5.0


def original(module: str, name: str) -> Any:
    """What Python has under this name, whatever gevent or eventlet have put there."""
    if "gevent" in sys.modules:
        from gevent.monkey import get_original, is_module_patched

        if is_module_patched(module):
            return get_original(module, name)
    if "eventlet" in sys.modules:
        from eventlet.patcher import original as unpatched

        return getattr(unpatched(module), name)
    return getattr(__import__(module), name)


class Poll:
    """epoll(7), or poll(2) where there is none."""

    def __init__(self) -> None:
        try:
            self._poll, self._unit = original("select", "epoll")(), 1.0
        except AttributeError:
            self._poll, self._unit = original("select", "poll")(), 1000.0
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def close(self) -> None:
        if hasattr(self._poll, "close"):  # poll(2) has no descriptor
            self._poll.close()

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Descriptors that are ready, and for what; None: without a limit."""
        ready: list[tuple[int, int]] = self._poll.poll(
            None if seconds is None else seconds * self._unit
        )
        return ready


class Relay:
    """The relay of one process. :meth:`connect`, :meth:`start` and :meth:`stop` may be called from any
    thread; the rest is the relay thread's own.

    What a connection raises ends that connection. An error of the relay's own, no memory for a list
    say, costs nothing but time, as what is to be done stays noted. When there is one in each of two
    turns, all connections are cut off, and the next one starts another relay.
    """

    def __init__(self) -> None:
        self._new: deque[Connection] = deque()
        self._connections: dict[int, Connection] = {}
        #: To be served in this turn.
        self._due: set[Connection] = set()
        self._draining: set[Connection] = set()
        self._woken, self._wake = native_pair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._stopped = False
        self._poll = Poll()
        self._poll.register(self._woken.fileno(), READABLE)

    def start_thread(self) -> None:
        """:raises OSError: when no thread can be started."""
        try:
            original("_thread", "start_new_thread")(self.run, ())
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "no thread can be started for TLS") from error

    def wake(self) -> None:
        """From any thread; never waits."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            self._wake.send(b"x")

    def stop(self) -> None:
        """End the thread; for a relay without connections. From any thread."""
        self._stopped = True
        self.wake()

    def close(self) -> None:
        """Give the descriptors back; not while the thread runs."""
        self._poll.close()
        self._woken.close()
        self._wake.close()

    def connect(self, tls: TLS, fd: int, received: bytes) -> tuple[Connection, Descriptor]:
        """Prepare for a connection.

        :param tls: the connection.
        :param fd: its descriptor.
        :param received: bytes that are decrypted already.
        :returns: what to start, and a descriptor of the plain side.
        :raises OSError: when descriptors are used up.
        """
        engine, plain = native_pair()
        try:
            plain.setblocking(False)
            return Connection(tls, fd, plain, received), Descriptor(engine)
        except BaseException:
            plain.close()
            raise
        finally:
            engine.close()

    def start(self, connection: Connection) -> None:
        """Relay it from now on, until it is at its end and closed. A second call does nothing."""
        self._new.append(connection)
        self.wake()
        if self._stopped:  # it may have looked for new ones for the last time
            self._drop_new()

    def run(self) -> None:
        name_thread("fws-tls")
        failed = False
        try:
            while not self._stopped:
                try:
                    self.turn()
                    failed = False
                except BaseException:  # of no connection: see _serve()
                    if failed:
                        raise
                    failed = True
                    report("a turn of the TLS relay has failed; it goes on")
        except BaseException:
            report("the TLS relay has failed: its connections are cut off, the next one starts another")
        finally:
            self._end()

    def _end(self) -> None:
        self._stopped = True
        if _relays.get("relay") is self:  # nobody else takes it out
            del _relays["relay"]
        self._drop_new()
        for connection in {*self._connections.values()}:
            self._drop(connection)
        self.close()

    def turn(self) -> None:
        for fd, events in self._poll.wait(self._timeout()):
            self._note(fd, events)
        while self._new:
            self._take(self._new[0])
            self._new.popleft()
        now = time.monotonic()
        self._due.update(c for c in self._draining if now >= c.give_up_at)
        for connection in list(self._due):
            self._serve(connection, now)

    def _note(self, fd: int, events: int) -> None:
        """What is not noted, because there is no memory for it, is reported again."""
        connection = self._connections.get(fd)
        if connection is not None:
            self._due.add(connection)
            if fd == connection.tls_fd and events & READABLE:
                connection.tls_readable = True
            if events & (HUNG_UP | ERROR):
                connection.hung_up(fd)
        elif fd == self._woken.fileno():
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)

    def _take(self, connection: Connection) -> None:
        if connection.started:
            return
        connection.started = True
        try:
            self._connections[connection.tls_fd] = connection
            self._connections[connection.plain_fd] = connection
            self._due.add(connection)
        except BaseException:
            report("a TLS connection is cut off")
            self._drop(connection)

    def _serve(self, connection: Connection, now: float) -> None:
        try:
            self._due.discard(connection)
            self._relay(connection, now)
        except BaseException:  # also what a callback of the server's SSL context raises
            report("a TLS connection is cut off")
            self._drop(connection)

    def _timeout(self) -> float | None:
        if self._due or self._new:
            return 0.0
        if not self._draining:
            return None
        soonest = min(connection.give_up_at for connection in self._draining)
        return max(0.0, soonest - time.monotonic())

    def _relay(self, connection: Connection, now: float) -> None:
        connection.wants_write = False
        more = connection.receive()
        if connection.send() or more:
            self._due.add(connection)
        due = connection.engine_gone and now >= connection.give_up_at
        if due and (connection.has_progressed() or connection.give_up_at == 0.0):
            # The engine has finished with it, so the relay must end it when the peer stalls.
            connection.give_up_at = now + LAST_BYTES_TIMEOUT
            self._draining.add(connection)
        if connection.is_finished or (connection.give_up_at and now >= connection.give_up_at):
            self._finish(connection)
        else:
            self._watch(connection, connection.interest())

    def _watch(self, connection: Connection, interest: dict[int, int]) -> None:
        for fd, events in interest.items():
            before = connection.watched[fd]
            if events == before:
                continue
            if events == NOT_WATCHED:
                self._poll.unregister(fd)
            elif before == NOT_WATCHED:
                self._poll.register(fd, events)
            else:
                self._poll.modify(fd, events)
            connection.watched[fd] = events

    def _finish(self, connection: Connection) -> None:
        self._watch(connection, dict.fromkeys(connection.watched, NOT_WATCHED))
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Close it, wherever it is. Raises nothing, and may be done twice."""
        watched, connection.watched = connection.watched, {}
        for fd, events in watched.items():
            if events != NOT_WATCHED:
                with contextlib.suppress(BaseException):
                    self._poll.unregister(fd)
            if self._connections.get(fd) is connection:
                del self._connections[fd]
        self._due.discard(connection)
        self._draining.discard(connection)
        with contextlib.suppress(BaseException):
            connection.close()

    def _drop_new(self) -> None:
        """At the end of the relay, and by every thread that comes after it."""
        while self._new:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._drop(self._new.popleft())


def report(what: str) -> None:
    """Log the exception that is being handled; whatever the handlers of the application raise."""
    with contextlib.suppress(BaseException):
        logger.error(what, exc_info=sys.exc_info()[1])


def native_pair() -> tuple[_socket.socket, _socket.socket]:
    """A socket pair that gevent and eventlet have not changed, and whose descriptors are at no moment
    numbers only, which an exception of another thread could lose."""
    return _socket.socketpair()


#: The relay of this process is its value for the key ``"relay"``; see relay().
_relays: dict[str, Relay] = {}


def relay() -> Relay:
    """The relay of this process; it starts with the first connection."""
    found = _relays.get("relay")
    if found is not None:
        return found
    made = Relay()
    try:
        made.start_thread()  # before others can find it: without a thread it would be of no use to them
    except OSError:
        made.close()
        raise
    try:
        # One step of C, so that threads which make one at once agree on the first.
        found = _relays.setdefault("relay", made)
    finally:  # also when another thread has raised an exception in this one
        if _relays.get("relay") is not made:
            made.stop()
    return found


def after_fork_in_child() -> None:
    """The connections belong to the parent: a child closes its copies of the descriptors, and sends
    nothing."""
    for inherited in _relays.values():
        copies: set[Connection | Relay] = {*inherited._connections.values(), *inherited._new, inherited}
        for copy in copies:
            with contextlib.suppress(OSError):
                copy.close()
    _relays.clear()


os.register_at_fork(after_in_child=after_fork_in_child)
