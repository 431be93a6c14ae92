"""Answers in plain HTTP to a handshake, which the server's thread gives without the application."""

from __future__ import annotations

import errno
from typing import Any

from werkzeug.exceptions import ServiceUnavailable
from werkzeug.wrappers import Response

__all__ = (
    "USED_UP",
    "PlainAnswer",
    "plain_answer",
    "plain_response",
    "shutting_down",
    "too_late",
    "used_up",
)


class PlainAnswer:
    """An answer in plain HTTP: what start_response is to be given, and the body."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: list[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.body = body


#: The errors of descriptors, memory or threads that are used up. The handler did nothing wrong, and a
#: later attempt may succeed.
USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN)


def used_up() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The server has no descriptors or no memory left for another WebSocket; try again later.",
        retry_after=5,
    )


def shutting_down() -> ServiceUnavailable:
    return ServiceUnavailable("The server is shutting down; try again later.", retry_after=5)


def too_late() -> ServiceUnavailable:
    return ServiceUnavailable("The handshake took too long; try again later.", retry_after=5)


def plain_answer(error: ServiceUnavailable) -> PlainAnswer:
    """The response of an error, as the server's thread sends it without the application."""
    return plain_response(error.get_response(), {"REQUEST_METHOD": "GET"})


def plain_response(response: Response, environ: dict[str, Any]) -> PlainAnswer:
    """A response as the server's thread sends it. It ends the connection, because the handler is still
    running and may be reading the request from it.

    :param environ: the environment of its request.
    """
    try:
        body, status, headers = response.get_wsgi_response(environ)
        return PlainAnswer(status, [*headers, ("Connection", "close")], list(body))
    finally:
        response.close()
