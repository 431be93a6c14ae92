"""gunicorn, with any of its workers."""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from typing import Any

from . import gevent
from .taking import NoSocket, ServerSocket, input_was_replaced, inputs

__all__ = ("find",)


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server puts its socket into ``gunicorn.socket``.
    """
    server = environ.get("gunicorn.socket")
    if server is None:
        return None
    if str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/2"):
        raise NoSocket(
            "This request is one stream of an HTTP/2 connection, which others share, and a WebSocket "
            "takes its connection whole. A proxy in between has to speak HTTP/1.1 to gunicorn for "
            "WebSockets; or leave h2 out of gunicorn's --http-protocols."
        )
    if (
        gevent.reader(environ) is not None
    ):  # the worker class gunicorn.workers.ggevent.GeventPyWSGIWorker
        return gevent.find(environ)
    for stream in inputs(environ):
        # What the parser has read past the request lies in its unreader.
        unreader = getattr(getattr(stream, "reader", None), "unreader", None)
        if unreader is not None:
            return GunicornSocket(server, unread(unreader))
    raise input_was_replaced(environ)


def unread(unreader: Any) -> Callable[[], bytes]:
    def read_buffered() -> bytes:
        data: bytes = unreader.buf.getvalue()
        unreader.buf = io.BytesIO()
        return data

    return read_buffered


class GunicornSocket(ServerSocket):
    _response: Any = None

    def prepare(self, start_response: Any) -> Any:
        """``start_response`` is a method of gunicorn's response, unless some middleware or monitoring
        agent has put its own around it. It cannot be told by a header: those of the connection are not
        for applications to set."""
        # A proxy of the method has its attributes as well, and wants to be called.
        plain = type(start_response) is types.MethodType
        response = start_response.__self__ if plain else None
        if hasattr(response, "headers_sent") and callable(getattr(response, "force_close", None)):
            self._response = response
            self._silent = True
        return start_response

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
