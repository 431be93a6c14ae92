"""uWSGI, with processes, threads or gevent."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

from .taking import NoSocket, ServerSocket

__all__ = ("find", "start_problem")

#: How much its parser may have read past the request: its buffer-size has at most 64 KiB.
READ_AHEAD_MAX = 64 * 1024


def find(environ: dict[str, Any]) -> ServerSocket | None:
    """The socket, when the request comes from this server.

    :param environ: the WSGI environment; the server has a module ``uwsgi`` inside its processes.
    """
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or "uwsgi.version" not in environ:
        return None
    names = options(uwsgi)
    problem = obstacle(names)
    if problem is not None:
        raise NoSocket(problem)
    if names & FASTCGI and "GATEWAY_INTERFACE" in environ:
        raise NoSocket(RECORDS)
    found = ServerSocket(uwsgi.connection_fd(), read_ahead(uwsgi))
    if environ.get("UWSGI_ROUTER") == "http":
        if not names & ROUTERS:
            found.notice = ROUTER_ELSEWHERE
        elif not passes_messages(names, environ):
            raise NoSocket(DEAF_ROUTER)
    return found


def options(uwsgi: Any) -> set[str]:
    """The names of the options that it was started with."""
    return {name.decode() if isinstance(name, bytes) else name for name in uwsgi.opt}


def obstacle(names: set[str]) -> str | None:
    """What keeps every WebSocket from working, and what to do; None when nothing does.

    :param names: of the options.
    """
    if not names & {"enable-threads", "threads", "gevent"}:
        return (
            "uWSGI stops all Python threads between two requests; start it with --enable-threads, or "
            "with --gevent."
        )
    if any(name.startswith("https-socket") for name in names):
        return (
            "uWSGI keeps a TLS connection that it ends itself; end TLS in its HTTP router (--https) or "
            "in a proxy in front of it."
        )
    if names & FASTCGI and not names & SOCKETS:
        return RECORDS
    if not all(hasattr(core(), name) for name in SYMBOLS):
        return (
            "This build of uWSGI hides the functions by which a connection is taken over whole. Builds "
            "that do not: uwsgi and pyuwsgi of PyPI."
        )
    return None


def start_problem() -> str | None:
    """What can be said about this server when the application is made, before any handshake."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or not hasattr(uwsgi, "opt"):
        return None
    names = options(uwsgi)
    problem = obstacle(names)
    if problem is None and names & ROUTERS and not names & RAW:
        return DEAF_ROUTER
    return problem


#: Options for sockets that speak FastCGI, and for those whose bytes are the client's after a request.
FASTCGI = frozenset(("fastcgi-socket", "fastcgi-nph-socket"))
SOCKETS = frozenset(
    ("socket", "uwsgi-socket", "http-socket", "http11-socket", "scgi-socket", "http", "httprouter")
)
RECORDS = (
    "FastCGI has no upgrades: all bytes come in its records. Start uWSGI with --socket and let the "
    "proxy speak uwsgi (nginx: uwsgi_pass), or with --http-socket and let it speak HTTP (proxy_pass)."
)
#: Options that make an HTTP router, a process of its own in front of the workers.
ROUTERS = frozenset(("http", "httprouter", "http-router", "https", "https2"))
#: Options with which it passes on what a client sends after its request.
RAW = frozenset(("http-websockets", "http-raw-body"))

DEAF_ROUTER = (
    "uWSGI's HTTP router (--http) does not pass on what a client sends after its request: start uWSGI "
    "with --http-websockets as well, or with --http-socket instead of --http."
)
ROUTER_ELSEWHERE = (
    "WebSockets come by way of an HTTP router of another uWSGI. It has to run with --http-websockets, "
    "or their messages do not arrive here."
)


def passes_messages(names: set[str], environ: dict[str, Any]) -> bool:
    """Does the router pass on what comes after this request? With ``http-websockets`` it looks for two
    of three header fields, of which it understands no lists."""
    if "http-raw-body" in names:
        return True
    signs = (
        environ.get("HTTP_UPGRADE", "").lower() == "websocket",
        environ.get("HTTP_CONNECTION", "").lower() == "upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION" in environ,
    )
    return "http-websockets" in names and sum(signs) >= 2


def read_ahead(uwsgi: Any) -> Callable[[], bytes]:
    """What the parser has read past the request.

    uWSGI has no call for it. The function that its own request body is read with gives it first, and
    then reads the descriptor, which is at its end by the time this is called.
    """
    request = current_request(uwsgi)

    def read() -> bytes:
        buffer = ctypes.create_string_buffer(READ_AHEAD_MAX)
        function = core().uwsgi_proto_base_read_body
        function.restype = ctypes.c_ssize_t
        size = function(ctypes.c_void_p(request), buffer, ctypes.c_size_t(READ_AHEAD_MAX))
        return buffer.raw[: max(0, size)]

    return read


#: The functions of uWSGI that are called here.
SYMBOLS = ("uwsgi_proto_base_read_body", "threaded_current_wsgi_req", "simple_current_wsgi_req")


@functools.cache
def core() -> ctypes.CDLL:
    """What has the functions of uWSGI: the program itself; or, when it was installed as ``pyuwsgi``, an
    extension module of Python."""
    module = sys.modules.get("pyuwsgi")
    program = ctypes.CDLL(None)
    path = getattr(module, "__file__", None)
    if hasattr(program, "uwsgi_proto_base_read_body") or path is None:
        return program
    return ctypes.CDLL(path)


def current_request(uwsgi: Any) -> int:
    """The address of uWSGI's own record of the request."""
    if "gevent" in sys.modules:
        import gevent

        address: int | None = getattr(gevent.getcurrent(), "uwsgi_wsgi_req", None)
        if address is not None:
            return address
    functions = core()
    threads = uwsgi.cores > 1
    find = functions.threaded_current_wsgi_req if threads else functions.simple_current_wsgi_req
    find.restype = ctypes.c_void_p
    return int(find() or 0)
