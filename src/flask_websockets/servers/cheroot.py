"""cheroot, the server of CherryPy."""

from __future__ import annotations

import sys
from typing import Any

from .taking import ServerSocket, find_reader, input_was_replaced

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the socket is below ``wsgi.input``.
    """
    server = sys.modules.get("cheroot.server")
    stream = environ.get("wsgi.input")
    if server is None:
        return None
    if not isinstance(stream, (server.KnownLengthRFile, server.SizeCheckWrapper)):
        if str(environ.get("SERVER_SOFTWARE", "")).startswith(("Cheroot/", "cheroot/")):
            raise input_was_replaced(environ)
        return None
    reader = find_reader(stream.rfile)
    if reader is None:
        raise input_was_replaced(environ)
    return ServerSocket(reader.socket, reader.read_ahead)
