"""eventlet's own server, ``eventlet.wsgi``."""

from __future__ import annotations

from typing import Any

from .taking import NoSocket, ServerSocket, find_reader

__all__ = ("KEY", "find")

#: Where the server puts what it reads requests from.
KEY = "eventlet.input"


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment.
    """
    stream = environ.get(KEY)
    if stream is None:
        return None
    reader = find_reader(stream.rfile)
    if reader is None:
        raise NoSocket("This version of eventlet keeps its connection where it is not found.")
    return ServerSocket(stream.get_socket(), reader.read_ahead)
