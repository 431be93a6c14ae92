"""The WSGI servers whose sockets can be taken over, one small file each.

An adapter is a function ``find(environ)`` that returns a :class:`~.taking.ServerSocket`, or None when
the request does not come from its server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import werkzeug
from .taking import ServerSocket

__all__ = ("NAMES", "ServerSocket", "find")

ADAPTERS: tuple[Callable[[dict[str, Any]], ServerSocket | None], ...] = (werkzeug.find,)

#: For the message to someone whose server hides its socket.
NAMES = "the Werkzeug development server (flask run, app.run)"


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket of this request, or None when its server is not a known one.

    :param environ: the WSGI environment.
    """
    for adapter in ADAPTERS:
        found = adapter(environ)
        if found is not None:
            return found
    return None
