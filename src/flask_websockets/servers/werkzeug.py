"""The Werkzeug development server: ``flask run`` and ``app.run()``."""

from __future__ import annotations

from typing import Any

from .taking import ServerSocket, find_reader, input_was_replaced

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server puts its socket into ``werkzeug.socket``.
    """
    server = environ.get("werkzeug.socket")
    if server is None:
        return None
    reader = find_reader(environ.get("wsgi.input"))
    if reader is None:
        raise input_was_replaced(environ)
    return ServerSocket(server, reader.read_ahead)
