"""cheroot, the server of CherryPy."""

from __future__ import annotations

import sys
from typing import Any

from .taking import ServerSocket, find_reader, input_was_replaced, inputs

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the socket is below ``wsgi.input``.
    """
    server = sys.modules.get("cheroot.server")
    if server is None:
        return None
    for stream in inputs(environ):
        if isinstance(stream, (server.KnownLengthRFile, server.SizeCheckWrapper)):
            reader = find_reader(stream.rfile)
            if reader is not None:
                return ServerSocket(reader.socket, reader.read_ahead)
    if str(environ.get("SERVER_SOFTWARE", "")).startswith(("Cheroot/", "cheroot/")):
        raise input_was_replaced(environ)
    return None
