"""The Werkzeug development server: ``flask run`` and ``app.run()``."""

from __future__ import annotations

from typing import Any

from .taking import ServerSocket

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server puts its socket into ``werkzeug.socket``.
    """
    server = environ.get("werkzeug.socket")
    if server is None:
        return None
    return ServerSocket(server, environ.get("wsgi.input"))
