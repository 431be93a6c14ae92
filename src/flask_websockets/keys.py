"""The names by which the parts of a handshake find each other, and where its view runs."""

from __future__ import annotations

__all__ = (
    "ENVIRON_KEY",
    "EVENT_LOOP",
    "NO_SOCKET_KEY",
    "OWN_THREAD",
    "SERVER_THREAD",
    "VIEW_MARK",
)

#: Where the WSGI environment carries the Upgrade of its request.
ENVIRON_KEY = "flask_websockets.upgrade"
#: Where it carries the reason that there is none.
NO_SOCKET_KEY = "flask_websockets.no_socket"

#: The attribute of a view function of this extension that says where its handler runs: one of the three
#: values below.
VIEW_MARK = "_flask_websockets_view"
#: The handler has a thread, or greenlet, of its own for as long as the connection lives.
OWN_THREAD = "own thread"
#: The request runs in the server's thread or greenlet, which is free again after the handshake.
SERVER_THREAD = "server thread"
#: The same, and the coroutine runs in the asyncio event loop of the process.
EVENT_LOOP = "event loop"
