"""gevent's own server, ``gevent.pywsgi``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from .taking import Reader, ServerSocket, find_reader, input_was_replaced, inputs

__all__ = ("find", "reader")


def reader(environ: dict[str, Any]) -> Reader | None:
    """What the server reads requests from, when the request comes from this server."""
    pywsgi = sys.modules.get("gevent.pywsgi")
    if pywsgi is None:
        return None
    for stream in inputs(environ):
        # It leaves out the Input for requests with an Upgrade header.
        found = find_reader(stream.rfile if isinstance(stream, pywsgi.Input) else stream)
        if found and isinstance(found.socket, sys.modules["gevent.socket"].socket):
            return found
    return None


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the socket is below ``wsgi.input``.
    """
    requests = reader(environ)
    if requests is None:
        if str(environ.get("SERVER_SOFTWARE", "")).startswith("gevent/"):
            raise input_was_replaced(environ)
        return None
    answered = environ.get("wsgi.websocket")
    if answered is not None:
        return AnsweredSocket(requests.socket, requests.read_ahead, answered)
    return ServerSocket(requests.socket, requests.read_ahead)


class AnsweredSocket(ServerSocket):
    """A connection whose handshake gevent-websocket's handler has answered, as it does before it calls
    an application; Flask-Sockets was run so. Nothing can be added to that 101, and nothing can be
    refused with plain HTTP any more: a refusal is a close frame.

    :param websocket: what the handler has put into ``wsgi.websocket``.
    """

    answered = True
    notice = (
        "gevent-websocket's handler answers handshakes before the application is asked: a refusal is "
        "a close frame with 1008, and cookies, headers, subprotocols and compression do not go out. "
        "Nothing here needs it: leave out handler_class=WebSocketHandler, and with gunicorn use the "
        "worker class gevent."
    )

    def __init__(self, server: Any, read_ahead: Callable[[], bytes], websocket: Any) -> None:
        super().__init__(server, read_ahead)
        self._websocket = websocket

    def prepare(self, start_response: Any) -> Any:
        return self._refuse

    def _refuse(self, status: str, *_: Any) -> Callable[[bytes], None]:
        code = {"3": 1008, "4": 1008}.get(status[:1], 1013 if status.startswith("503") else 1011)
        payload = code.to_bytes(2, "big") + status.encode("latin-1", "replace")[:123]
        with contextlib.suppress(Exception):  # its own kinds, when the peer has gone
            self._websocket.send_frame(payload, self._websocket.OPCODE_CLOSE)
        self._websocket.closed = True  # its handler closes it otherwise, by a frame of its own
        return lambda data: None

    def discard_answer(self, start_response: Any) -> tuple[bytes, ...]:
        self._websocket.closed = True
        return ()

    def answer_written(self) -> None:
        self._websocket = None
        super().answer_written()
