"""Between TLS connections and the engine: one thread that speaks TLS to the peers, and plain bytes to
the engine over a socket pair each.

It is a native thread even if gevent or eventlet have replaced the threads of Python, because it must
not wait for an event loop, as the engine's threads do not.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import fcntl
import logging
import os
import socket
import ssl
import struct
import sys
import termios
import time
from collections import deque
from typing import Any, Protocol

from ._core import Descriptor, name_thread

logger = logging.getLogger(__package__)

__all__ = ("Connection", "Relay", "limit_unsent", "native_pair", "relay")

#: How much is read from the peer at once, bytes.
CHUNK = 64 * 1024
#: How much of what the engine has written is read at once: one TLS record (RFC 8446 section 5.1). The
#: engine counts the bytes here and in the socket below as taken by the peer, so they are kept few.
RECORD = 16 * 1024
#: Reads of one connection in a turn, so that a busy one does not starve the others.
READS_PER_TURN = 8
WRITES_PER_TURN = 32
#: What the socket below may keep besides what is on its way, bytes: TCP_NOTSENT_LOWAT. With a quarter
#: of it a fast peer is a little slower; with more, the engine counts more bytes too early as taken.
UNSENT_MAX = 64 * 1024
#: How long a peer may take none of the remaining bytes once the engine has finished with the
#: connection, seconds.
LAST_BYTES_TIMEOUT = 5.0

READABLE, WRITABLE, ERROR, HUNG_UP = 1, 4, 8, 16  # in poll(2) as in epoll(7)
#: Instead of events: not even errors.
NOT_WATCHED = -1


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


class TLS(Protocol):
    """A connection with its SSL object; see :class:`flask_websockets.servers.tls.Taken`."""

    ssl: Any

    def close(self) -> None: ...


class Connection:
    """One connection on its way through the relay.

    Bytes flow in two directions, and at most one chunk of each is here: while that chunk is not
    written, nothing more is read, and TCP holds the sender back.
    """

    def __init__(self, tls: TLS, tls_fd: int, plain: _socket.socket, received: bytes) -> None:
        self.tls = tls
        self.tls_fd = tls_fd
        self.plain = plain
        self.plain_fd = plain.fileno()
        self.to_plain = memoryview(received)
        self.to_tls = memoryview(b"")
        self.started = False
        self.tls_ended = False
        self.tls_hung_up = False
        self.tls_readable = False
        self.plain_ended = False
        self.plain_shut = False
        self.closed_output = False
        self.engine_gone = False
        self.give_up_at = 0.0
        self.encrypted = 0
        self._progress_seen = (0, 0)
        #: The SSL layer wants to write before it can read on (a key update), or the other way round.
        self.wants_write = False
        #: The former: it is to be asked again although nothing has arrived.
        self.reads_on = False
        self.watched = {tls_fd: NOT_WATCHED, self.plain_fd: NOT_WATCHED}

    # ---- peer to engine ----

    def receive(self) -> bool:
        """Decrypt what has arrived; True when there may be more at once."""
        for _ in range(READS_PER_TURN):
            if not self._flush_plain() or self.tls_ended or self.engine_gone:
                return False
            if not self.reads_on and self._has_read_all():
                return False
            self.tls_readable = self.reads_on = False
            try:
                data = self.tls.ssl.read(CHUNK)
            except ssl.SSLWantReadError:
                return False
            except ssl.SSLWantWriteError:
                self.wants_write = self.reads_on = True
                return False
            except (ssl.SSLError, OSError):  # also the regular end, SSLZeroReturnError
                data = b""
            if data:
                self.to_plain = memoryview(data)
            else:
                self.tls_ended = True
        return True

    def _has_read_all(self) -> bool:
        """Is nothing there to be read at present? A peer may end its side of the stream without a
        close_notify, and read on. OpenSSL is not to see that, as it writes nothing after it."""
        if self.tls.ssl.pending() > 0 or unread(self.tls_fd) > 0:
            return False
        if self.tls_readable or self.tls_hung_up:  # so that is the end of the stream
            self.tls_ended = True
            self._flush_plain()
        return True

    def _flush_plain(self) -> bool:
        """Give the engine what is decrypted; False when it does not take all of it."""
        while self.to_plain:
            try:
                sent = self.plain.send(self.to_plain)
            except BlockingIOError:
                return False
            except OSError:
                self.engine_gone = True
                self.to_plain = memoryview(b"")
                return False
            self.to_plain = self.to_plain[sent:]
        if self.tls_ended and not self.plain_shut:
            self.plain_shut = True
            with contextlib.suppress(OSError):
                self.plain.shutdown(socket.SHUT_WR)
        return True

    # ---- engine to peer ----

    def send(self) -> bool:
        """Encrypt what the engine has written; True when there may be more at once."""
        for _ in range(WRITES_PER_TURN):
            if not self._flush_tls() or self.plain_ended:
                return False
            try:
                data = self.plain.recv(RECORD)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if data:
                self.to_tls = memoryview(data)
            else:
                self.plain_ended = True
        return True

    def _flush_tls(self) -> bool:
        while self.to_tls:
            try:
                sent = self.tls.ssl.write(self.to_tls)
            except ssl.SSLWantWriteError:
                self.wants_write = True
                return False
            except ssl.SSLWantReadError:  # answered by the next receive()
                return False
            except (ssl.SSLError, OSError):
                self.tls_ended = self.plain_ended = self.engine_gone = True
                self.to_tls = memoryview(b"")
                return True
            self.to_tls = self.to_tls[sent:]
            self.encrypted += sent
        if self.plain_ended and not self.closed_output:
            self.closed_output = True
            # Sends close_notify. That the peer has not sent its own yet raises, and does not matter.
            with contextlib.suppress(ssl.SSLError, OSError, ValueError):
                self.tls.ssl.shutdown()
            with contextlib.suppress(OSError):
                end_output(self.tls_fd)
        return True

    # ---- both ----

    def has_progressed(self) -> bool:
        """Has the peer taken anything since the last call?"""
        encrypted, kept = self._progress_seen
        self._progress_seen = (self.encrypted, unsent(self.tls_fd))
        return self._progress_seen[0] > encrypted or self._progress_seen[1] < kept

    @property
    def is_finished(self) -> bool:
        sent_all = self.plain_ended and not self.to_tls
        return sent_all and (self.engine_gone or (self.tls_ended and not self.to_plain))

    def interest(self) -> dict[int, int]:
        """The events to wait for, by descriptor. A descriptor without any event is still watched, and a
        closed other end is reported again and again; so it is not watched any more after the first
        report."""
        tls = plain = 0
        if not self.to_plain and not self.tls_ended and not self.engine_gone:
            tls |= READABLE
        if self.to_tls or self.wants_write:
            tls |= WRITABLE
        if not self.to_tls and not self.plain_ended:
            plain |= READABLE
        if self.to_plain:
            plain |= WRITABLE
        return {
            self.tls_fd: NOT_WATCHED if self.tls_hung_up else tls,
            self.plain_fd: NOT_WATCHED if self.engine_gone else plain,
        }

    def hung_up(self, fd: int) -> None:
        """The other end of a descriptor is closed. What it has written before can still be read."""
        if fd == self.tls_fd:
            self.tls_hung_up = True
        else:
            self.engine_gone = True
            self.to_plain = memoryview(b"")

    def close(self) -> None:
        self.plain.close()
        self.tls.close()


def unread(fd: int) -> int:
    """Bytes that have arrived on a socket."""
    (size,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    return int(size)


def unsent(fd: int) -> int:
    """Bytes that were written to a socket and that the peer has not acknowledged; 0 where the system
    does not tell."""
    try:
        answer = fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ is the same number
    except OSError:
        return 0
    (size,) = struct.unpack("i", answer)
    return int(size)


def limit_unsent(connection: Any) -> None:
    """Limit the bytes that a socket keeps besides those on their way to :data:`UNSENT_MAX`, where the
    system has such an option."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)
    if option is not None:
        with contextlib.suppress(OSError):  # a Unix socket
            connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_MAX)


def end_output(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as copy:
        copy.shutdown(socket.SHUT_WR)


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
    """The relay of one process. :meth:`connect` and :meth:`start` may be called from any thread; the
    rest is the relay thread's own."""

    def __init__(self) -> None:
        self._new: deque[Connection] = deque()
        self._connections: dict[int, Connection] = {}
        self._again: set[Connection] = set()
        self._draining: set[Connection] = set()
        self._woken, self._wake = native_pair()
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

    def stop(self) -> None:
        """End the thread; for a relay without connections. From any thread."""
        self._stopped = True
        self._wake.send(b"x")

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
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            self._wake.send(b"x")

    def run(self) -> None:
        name_thread("fws-tls")
        while not self._stopped:
            self.turn()
        self.close()

    def turn(self) -> None:
        ready = self._poll.wait(self._timeout())
        busy, self._again = self._again, set()
        for fd, events in ready:
            if fd == self._woken.fileno():
                self._woken.recv(4096)
                continue
            connection = self._connections.get(fd)
            if connection is None:
                continue
            busy.add(connection)
            if fd == connection.tls_fd and events & READABLE:
                connection.tls_readable = True
            if events & (HUNG_UP | ERROR):
                connection.hung_up(fd)
        while self._new:
            connection = self._new.popleft()
            if connection.started:
                continue
            connection.started = True
            self._connections[connection.tls_fd] = connection
            self._connections[connection.plain_fd] = connection
            busy.add(connection)
        now = time.monotonic()
        busy.update(c for c in self._draining if now >= c.give_up_at)
        for connection in busy:
            try:
                self._serve(connection, now)
            except Exception:  # no memory, say: the others must not suffer from it
                logger.exception("a TLS connection is cut off")
                self._cut_off(connection)

    def _timeout(self) -> float | None:
        if self._again:
            return 0.0
        if not self._draining:
            return None
        soonest = min(connection.give_up_at for connection in self._draining)
        return max(0.0, soonest - time.monotonic())

    def _serve(self, connection: Connection, now: float) -> None:
        connection.wants_write = False
        more = connection.receive()
        if connection.send() or more:
            self._again.add(connection)
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
        self._again.discard(connection)
        self._draining.discard(connection)
        del self._connections[connection.tls_fd], self._connections[connection.plain_fd]
        connection.close()

    def _cut_off(self, connection: Connection) -> None:
        """End one that has failed, wherever it was."""
        for fd, events in connection.watched.items():
            if events != NOT_WATCHED:
                with contextlib.suppress(OSError, KeyError, ValueError):
                    self._poll.unregister(fd)
            self._connections.pop(fd, None)
        self._again.discard(connection)
        self._draining.discard(connection)
        connection.close()


def native_pair() -> tuple[_socket.socket, _socket.socket]:
    """A socket pair that gevent and eventlet have not changed, and whose descriptors are at no moment
    numbers only, which an exception of another thread could lose."""
    return _socket.socketpair()


#: The relay of this process is its value for the key ``"relay"``; see relay().
_relays: dict[str, Relay] = {}


def relay() -> Relay:
    """The relay of this process; it starts with the first connection."""
    found = _relays.get("relay")
    if found is None:
        made = Relay()
        try:  # before others can find it: without a thread it would be of no use to them
            made.start_thread()
        except BaseException:
            made.close()
            raise
        # One step of C, so that threads which make one at once agree on the first.
        found = _relays.setdefault("relay", made)
        if found is not made:
            made.stop()
    return found


def after_fork_in_child() -> None:
    """The connections belong to the parent: a child closes its copies of the descriptors, and sends
    nothing."""
    for inherited in _relays.values():
        for connection in {*inherited._connections.values(), *inherited._new}:
            connection.close()
    _relays.clear()


os.register_at_fork(after_in_child=after_fork_in_child)
