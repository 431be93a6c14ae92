"""uWSGI, with processes, threads or gevent."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from .taking import NoSocket, ServerSocket

__all__ = ("find",)

#: How much its parser may have read past the request: its buffer-size has at most 64 KiB.
READ_AHEAD_MAX = 64 * 1024


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server has a module ``uwsgi`` inside its processes.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or "uwsgi.version" not in environ:
        return None
    options = {name.decode() if isinstance(name, bytes) else name for name in uwsgi.opt}
    if not options & {"enable-threads", "threads", "gevent"}:
        raise NoSocket(
            "uWSGI stops all Python threads between two requests; start it with --enable-threads, or "
            "with --gevent."
        )
    if any(name.startswith("https-socket") for name in options):
        raise NoSocket(
            "uWSGI keeps a TLS connection that it ends itself; end TLS in its HTTP router (--https) or "
            "in a proxy in front of it."
        )
    return ServerSocket(uwsgi.connection_fd(), read_ahead(uwsgi))


def read_ahead(uwsgi: Any) -> Callable[[], bytes]:
    """What the parser has read past the request.

    uWSGI has no call for it. The function that its own request body is read with gives it first, and
    then reads the descriptor, which is at its end by the time this is called.
    """
    request = current_request(uwsgi)

    def read() -> bytes:
        core = ctypes.CDLL(None)
        buffer = ctypes.create_string_buffer(READ_AHEAD_MAX)
        core.uwsgi_proto_base_read_body.restype = ctypes.c_ssize_t
        size = core.uwsgi_proto_base_read_body(
            ctypes.c_void_p(request), buffer, ctypes.c_size_t(READ_AHEAD_MAX)
        )
        return buffer.raw[: max(0, size)]

    return read


def current_request(uwsgi: Any) -> int:
    """The address of uWSGI's own record of the request."""
    if "gevent" in sys.modules:
        import gevent

        address: int | None = getattr(gevent.getcurrent(), "uwsgi_wsgi_req", None)
        if address is not None:
            return address
    core = ctypes.CDLL(None)
    find = core.threaded_current_wsgi_req if uwsgi.cores > 1 else core.simple_current_wsgi_req
    find.restype = ctypes.c_void_p
    return int(find() or 0)
