"""Takes a TLS connection over from a WSGI server.

Its bytes can be read only with the server's SSL object, so the descriptor alone is of no use. The SSL
object goes to the relay, which speaks TLS to the peer and plain bytes to the engine. The server keeps
its socket object, whose methods have no effect from then on.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from typing import Any

from .._core import Descriptor
from ..tls.relay import native_pair, relay
from ..tls.relayed import Connection, limit_unsent

__all__ = ("Taken", "is_tls")


def is_tls(server: object) -> bool:
    """Is this a socket of the ``ssl`` module, or of gevent's or eventlet's variant of it?"""
    return getattr(server, "_sslobj", None) is not None


class Taken:
    """One TLS socket that its server no longer has, from :meth:`take` on.

    :param server: the server's socket object. Its class changes to one whose methods touch nothing:
        reading is at end-of-file, and what is written is discarded.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._class: type[Any] = type(server)
        self._timeout = server.gettimeout()
        self._connection: Connection | None = None
        self.ssl = server._sslobj
        #: gevent has the real socket below its own.
        self.below = getattr(server, "_sock", None)
        near, far = native_pair()
        far.close()
        #: Code that waits for the server's descriptor gets this one, which is at end-of-file.
        self.near = near

    def take(self) -> None:
        server = self._server
        server.settimeout(0.0)
        with contextlib.suppress(OSError):  # as the engine does with a descriptor of its own
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit_unsent(server)
        if self.below is not None:
            server._sock = self.near
        server.__class__ = dead_class(self._class)  # type: ignore[arg-type]
        server._taken = self

    def connect(self, received: bytes) -> Descriptor:
        """Connect it to the relay, which does not begin yet.

        :param received: what the server had read already; it comes first.
        :returns: a descriptor for the engine.
        :raises OSError: when descriptors are used up.
        """
        fd = self._class.fileno(self._server) if self.below is None else self.below.fileno()
        self._connection, engine = relay().connect(self, fd, received)
        return engine

    def start(self) -> None:
        """The relay begins: from here on the connection is its own. A second call does nothing."""
        assert self._connection is not None
        relay().start(self._connection)

    def give_back(self) -> None:
        """The server has its socket again; instead of start(), also when take() was interrupted."""
        self._server.__class__ = self._class
        if self.below is not None:
            self._server._sock = self.below
        self._server.settimeout(self._timeout)
        with contextlib.suppress(AttributeError):
            del self._server._taken
        self.near.close()
        if self._connection is not None:
            self._connection.plain.close()

    def close(self) -> None:
        """Called by the relay, at the end: close the connection itself."""
        if self.below is not None:
            self.below.close()
        else:
            fd = socket.socket.detach(self._server)
            if fd >= 0:
                os.close(fd)


class Dead:
    """What a server may do with a socket that it has no longer."""

    _taken: Taken

    def fileno(self) -> int:
        return self._taken.near.fileno()

    def recv(self, *_: Any) -> bytes:
        return b""

    read = recv

    def recv_into(self, *_: Any) -> int:
        return 0

    def send(self, data: Any, *_: Any) -> int:
        return memoryview(data).nbytes

    write = send

    def sendall(self, *_: Any) -> None:
        pass

    def nothing(self, *_: Any) -> None:
        pass

    shutdown = settimeout = setblocking = unwrap = setsockopt = nothing

    def close(self) -> None:
        self._taken.near.close()


@functools.cache
def dead_class(original: type[Any]) -> type[Any]:
    """The class that a server's socket changes to."""
    return type("Dead" + original.__name__, (Dead, original), {"__slots__": ()})
