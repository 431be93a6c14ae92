"""The Werkzeug development server: ``flask run`` and ``app.run()``."""

from __future__ import annotations

from typing import Any

from .taking import NoSocket, ServerSocket, find_reader, input_was_replaced, inputs

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server puts its socket into ``werkzeug.socket``.
    """
    server = environ.get("werkzeug.socket")
    if server is None:
        return None
    if environ.get("wsgi.multiprocess"):
        raise NoSocket(
            "The development server runs with processes=N: each request has a process of its own, and "
            "a WebSocket would end with it. Run it with threads, which is the default, or take "
            "gunicorn with several workers."
        )
    for stream in inputs(environ):
        reader = find_reader(stream)
        if reader is not None:
            return ServerSocket(server, reader.read_ahead)
    raise input_was_replaced(environ)
