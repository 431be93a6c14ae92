"""The WSGI servers whose sockets can be taken over, one small file each.

An adapter is a function ``find(environ)`` that returns a :class:`~.taking.ServerSocket`, or None when
the request does not come from its server. It raises :class:`~.taking.NoSocket` when the request does,
but its socket cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import cheroot, eventlet, gevent, gunicorn, uwsgi, werkzeug
from .loading import NAMES, start_problem
from .taking import NoSocket, ServerSocket

__all__ = ("NAMES", "SOCKET_KEYS", "NoSocket", "ServerSocket", "find", "protocol", "start_problem")

ADAPTERS: tuple[Callable[[dict[str, Any]], ServerSocket | None], ...] = (
    gunicorn.find,
    werkzeug.find,
    gevent.find,
    uwsgi.find,
    eventlet.find,
    cheroot.find,
)

#: What servers put into the environment that leads to the connection.
SOCKET_KEYS = (
    "werkzeug.socket",
    "gunicorn.socket",
    "gunicorn.sock",
    "wsgi.early_hints",
    "eventlet.input",
    "eventlet.set_idle",
)


def find(environ: dict[str, Any]) -> ServerSocket:
    """The socket of this request.

    :param environ: the WSGI environment.
    :raises NoSocket: when there is none to be had, and why.
    """
    for adapter in ADAPTERS:
        found = adapter(environ)
        if found is not None:
            return found
    software = environ.get("SERVER_SOFTWARE") or "this server"
    raise NoSocket(
        f"WebSockets need the connection itself, and {software} does not give it out. Servers that "
        f"do: {NAMES}."
    )


def protocol(environ: dict[str, Any]) -> str | None:
    """The version of HTTP that the request came with; None where the server does not tell."""
    if eventlet.KEY in environ:
        return None
    version: str | None = environ.get("SERVER_PROTOCOL")
    return version
