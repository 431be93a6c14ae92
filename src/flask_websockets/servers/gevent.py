"""gevent's own server, ``gevent.pywsgi``."""

from __future__ import annotations

import sys
from typing import Any

from .taking import Reader, ServerSocket, find_reader, input_was_replaced

__all__ = ("find", "reader")


def reader(environ: dict[str, Any]) -> Reader | None:
    """What the server reads requests from, when the request comes from this server."""
    pywsgi = sys.modules.get("gevent.pywsgi")
    if pywsgi is None:
        return None
    stream = environ.get("wsgi.input")
    # It leaves out the Input for requests with an Upgrade header.
    found = find_reader(stream.rfile if isinstance(stream, pywsgi.Input) else stream)
    return found if found and isinstance(found.socket, sys.modules["gevent.socket"].socket) else None


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the socket is below ``wsgi.input``.
    """
    requests = reader(environ)
    if requests is None:
        if str(environ.get("SERVER_SOFTWARE", "")).startswith("gevent/"):
            raise input_was_replaced(environ)
        return None
    return ServerSocket(requests.socket, requests.read_ahead)
