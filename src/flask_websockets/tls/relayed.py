"""One TLS connection on its way through the relay: bytes in two directions between its SSL object and
the engine's socket pair. Nothing here waits."""

from __future__ import annotations

import _socket
import contextlib
import fcntl
import os
import socket
import ssl
import struct
import sys
import termios
from typing import Any, Protocol

from .openssl import certain

__all__ = ("ERROR", "HUNG_UP", "NOT_WATCHED", "READABLE", "Connection", "limit_unsent")

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
READABLE, WRITABLE, ERROR, HUNG_UP = 1, 4, 8, 16  # in poll(2) as in epoll(7)
#: Instead of events: not even errors.
NOT_WATCHED = -1


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
                data = certain(self.tls.ssl.read, CHUNK)
            except ssl.SSLWantReadError:
                return False
            except ssl.SSLWantWriteError:
                self.wants_write = self.reads_on = True
                return False
            except OSError:  # also the regular end, ssl.SSLZeroReturnError
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
                sent = certain(self.tls.ssl.write, self.to_tls)
            except ssl.SSLWantWriteError:
                self.wants_write = True
                return False
            except ssl.SSLWantReadError:  # answered by the next receive()
                return False
            except OSError:
                self.tls_ended = self.plain_ended = self.engine_gone = True
                self.to_tls = memoryview(b"")
                return True
            self.to_tls = self.to_tls[sent:]
            self.encrypted += sent
        if self.plain_ended and not self.closed_output:
            self.closed_output = True
            # Sends close_notify. That the peer has not sent its own yet raises, and does not matter.
            with contextlib.suppress(OSError, ValueError):
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
        """A second call does nothing."""
        try:
            self.plain.close()
        finally:
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
