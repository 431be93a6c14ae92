"""Taking a connection out of a WSGI server's hands.

The server's own descriptor is pointed at one end of a socket pair, so that whatever it still writes,
shuts down or closes touches nothing; the connection lives on under a descriptor of ours.
"""

from __future__ import annotations

import os
import socket
from typing import IO

__all__ = ("ServerSocket",)


class ServerSocket:
    """The socket of one request, still in the server's hands.

    :param server: the server's socket object.
    :param reader: the buffered file that the server reads requests from, if it has one: what it has
        read past this request belongs to the websocket.
    """

    def __init__(self, server: socket.socket, reader: IO[bytes] | None) -> None:
        self._server = server
        self._reader = reader
        self._far_end: socket.socket | None = None

    @property
    def is_plain(self) -> bool:
        """False for TLS, where the bytes on the descriptor are not those of the connection."""
        return not hasattr(self._server, "cipher")

    def take(self) -> tuple[int, bytes]:
        """Take the connection over.

        :returns: a descriptor that the caller owns, and the bytes that the server had read already.
        :raises OSError: when descriptors are used up, or the rest of the request cannot be read; the
            server then still has its socket.
        """
        ours = os.dup(self._server.fileno())
        try:
            near, far = socket.socketpair()
        except OSError:
            os.close(ours)
            raise
        # A server that drains the socket before it closes it reads end-of-file at once.
        far.shutdown(socket.SHUT_WR)
        with near:
            os.dup2(near.fileno(), self._server.fileno(), inheritable=False)
        # Kept open for as long as the server may write, see finished().
        self._far_end = far
        # The reader gives what it has buffered, then the end-of-file of the socket pair.
        try:
            received = self._reader.read() if self._reader is not None else b""
        except Exception:  # a request body that is not what its headers promise
            self.give_back(ours)
            raise
        return ours, received

    def give_back(self, fd: int) -> None:
        """The engine could not have it: the server answers after all.

        :param fd: what take() returned; it is closed.
        """
        os.dup2(fd, self._server.fileno(), inheritable=False)
        os.close(fd)
        self.finished()

    def finished(self) -> None:
        """The server has written its answer: there is nothing more to be swallowed."""
        if self._far_end is not None:
            self._far_end.close()
            self._far_end = None
