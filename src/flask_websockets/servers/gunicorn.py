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
    return GunicornSocket(server, unread(unreader))


def unread(unreader: Any) -> Callable[[], bytes]:
    def read_buffered() -> bytes:
        data: bytes = unreader.buf.getvalue()
        unreader.buf = io.BytesIO()
        return data

    return read_buffered


class GunicornSocket(ServerSocket):
    _response: Any = None

    def prepare(self, start_response: Any) -> None:
        """``start_response`` is a method of gunicorn's response, unless some middleware has put its
        own around it. It cannot be told by a header: those of the connection are not for
        applications to set."""
        response = getattr(start_response, "__self__", None)
        if hasattr(response, "headers_sent") and callable(getattr(response, "force_close", None)):
            self._response = response
            self._silent = True

    def discard_answer(self, start_response: Any) -> tuple[bytes, ...]:
        response = self._response
        if response is None:
            return super().discard_answer(start_response)
        # This is what start_response does, without the checks of an answer that is written. They would
        # cost time at each handshake.
        response.status = "101 Switching Protocols"
        response.status_code = 101
        response.headers_sent = True
        response.force_close()  # no waiting for another request
        return ()

    def answer_written(self) -> None:
        self._response = None
        super().answer_written()
