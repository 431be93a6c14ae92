"""gunicorn, with any of its workers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from . import gevent
from .taking import ServerSocket, input_was_replaced

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server puts its socket into ``gunicorn.socket``.
    """
    server = environ.get("gunicorn.socket")
    if server is None:
        return None
    if (
        gevent.reader(environ) is not None
    ):  # the worker class gunicorn.workers.ggevent.GeventPyWSGIWorker
        return gevent.find(environ)
    # What the parser has read past the request lies in its unreader.
    unreader = getattr(getattr(environ.get("wsgi.input"), "reader", None), "unreader", None)
    if unreader is None:
        raise input_was_replaced(environ)
    return ServerSocket(server, unread(unreader))


def unread(unreader: Any) -> Callable[[], bytes]:
    def take() -> bytes:
        data: bytes = unreader.buf.getvalue()
        unreader.buf = io.BytesIO()
        return data

    return take
