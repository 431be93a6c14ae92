"""Takes a connection over from a WSGI server.

The server's own descriptor then refers to one end of a socket pair, so that what the server still
writes, shuts down or closes does not affect the connection, which has a new descriptor of ours.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from .._core import Descriptor, exchange, take_over
from . import tls

__all__ = ("NoSocket", "Reader", "ServerSocket", "find_reader", "input_was_replaced", "inputs")


class NoSocket(Exception):
    """The connection of a request cannot be had; the text says why, and what to do."""


def input_was_replaced(environ: dict[str, Any]) -> NoSocket:
    """For adapters that find bytes read ahead below ``wsgi.input``."""
    kind = type(environ.get("wsgi.input"))
    return NoSocket(
        f"A middleware has replaced wsgi.input by a {kind.__module__}.{kind.__qualname__}, so that the "
        "connection cannot be taken over whole. Let that middleware pass requests with an Upgrade "
        "header as they are."
    )


#: How many objects :func:`inputs` looks at: one, but for wrappers.
INPUTS_MAX = 16


def inputs(environ: dict[str, Any]) -> Iterator[Any]:
    """``wsgi.input``; then what it is a wrapper of, as those that monitoring agents make. While nobody
    has read, and there is no body to be read, a wrapper holds nothing that the socket has lost."""
    found = [environ.get("wsgi.input")]
    for stream in found:  # which grows meanwhile
        yield stream
        held = (getattr(stream, name, None) for name in attributes(stream))
        files = [value for value in held if callable(getattr(value, "read", None))]
        found += [file for file in files if not any(file is known for known in found)]
        del found[INPUTS_MAX:]


def attributes(thing: object) -> list[str]:
    """What an object of a Python class has for itself."""
    slots = [vars(cls).get("__slots__", ()) for cls in type(thing).__mro__]
    own = getattr(thing, "__dict__", {})
    return [*own, *(name for names in slots for name in ([names] if isinstance(names, str) else names))]


def unwrapped(thing: Any) -> Any:
    """What a proxy stands for (wrapt's ``ObjectProxy``): the class of a proxy cannot be changed, and
    its type is not the object's."""
    inner = thing
    for _ in range(INPUTS_MAX):
        inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            break
        thing = inner
    return thing


def number_of(server: Any) -> int:
    """The descriptor of a server's socket object, or of one that is its descriptor."""
    return server if isinstance(server, int) else int(server.fileno())


class Reader:
    """The buffered file over a socket that a server reads requests from.

    :ivar socket: the server's socket object.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.socket = file.raw._sock

    def read_ahead(self) -> bytes:
        """What is buffered; only when the socket is at its end, which this reads to."""
        data: bytes = self._file.read()
        return data


def find_reader(file: object) -> Reader | None:
    """None when it is something else. What classes these files have differs: those of ``io``,
    of ``_pyio``, and copies of them."""
    return Reader(file) if hasattr(getattr(file, "raw", None), "_sock") else None


#: See dead_end(). Forked children share it, which does no harm, because its state never changes.
dead_ends: list[socket.socket] = []


def dead_end() -> int:
    """The descriptor of one unconnected socket, for all servers that write nothing more. Every call on
    it fails with ENOTCONN or EPIPE, and none waits.

    :raises OSError: when descriptors are used up.
    """
    if not dead_ends:  # two threads may each make one: the second is not used
        dead_ends.append(socket.socket())  # unconnected
    return dead_ends[0].fileno()


class ServerSocket:
    """The socket of one request, until it is taken over from the server.

    :param server: the server's socket object, or its descriptor.
    :param read_ahead: gives the bytes that the server has read past this request, which belong to the
        websocket. It is called when the server's socket is at end-of-file already.
    """

    #: True when the server has answered with a 101 of its own, to which nothing can be added.
    answered = False
    #: What the operator should know about connections from here; to be logged once.
    notice: str | None = None

    def __init__(self, server: Any, read_ahead: Callable[[], bytes]) -> None:
        self._server = unwrapped(server)
        self._read_ahead: Callable[[], bytes] | None = read_ahead
        self._taken: tls.Taken | None = None
        #: What has been read ahead until now.
        self._received = b""
        #: True when the server will write nothing once the connection is taken over.
        self._silent = False
        #: Kept open for as long as the server may write; closed by answer_written().
        self._far_end: Descriptor | None = None

    def take_over(self) -> tuple[Descriptor, bytes]:
        """Take the connection over.

        :returns: the connection's descriptor, and the bytes that the server had read already.
        :raises OSError: when descriptors are used up, or the rest of the request cannot be read; the
            server then still has its socket.
        """
        assert self._read_ahead is not None  # take_over() is called before answer_written()
        if tls.is_tls(self._server):
            self._taken = taken = tls.Taken(self._server)
            try:
                taken.take()
                self._received += self._read_ahead()
                return taken.connect(self._received), b""
            except BaseException:
                self._taken = None
                taken.give_back()
                raise
        fd = number_of(self._server)
        if self._silent:
            ours = exchange(fd, dead_end())
        else:
            ours, self._far_end = take_over(fd)
        try:
            self._received += self._read_ahead()
        except BaseException:
            self.give_back(ours)
            raise
        return ours, self._received

    def prepare(self, start_response: Any) -> Any:
        """Find out whether the server can be made to write nothing, as its answer is discarded.

        :param start_response: what the server has given; it has not been called.
        :returns: what is to be called instead, by which a refusal is given to the client.
        """
        return start_response

    def discard_answer(self, start_response: Any) -> tuple[bytes, ...]:
        """Give the server the answer that it expects, and that is discarded.

        :param start_response: what prepare() was given.
        :returns: the body.
        """
        start_response("101 Switching Protocols", [])
        return (b"",)  # uWSGI writes the head with the first of the body, or after close()

    def handed_over(self) -> None:
        """The engine owns the connection from now on. A second call does nothing."""
        self._received = b""
        if self._taken is not None:
            self._taken.start()

    def give_back(self, descriptor: Descriptor | None) -> None:
        """Instead of handed_over(): the engine has refused the connection, and the server has it
        again. take_over() may be called again.

        :param descriptor: what take_over() returned; it is closed. None when nobody got it, because
            an exception of another thread came between; then a connection without TLS is closed.
        """
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.give_back()
        elif descriptor is not None:
            os.dup2(descriptor.fileno(), number_of(self._server), inheritable=False)
        if descriptor is not None:
            descriptor.close()
        self._close_far_end()

    def answer_written(self) -> None:
        """The server has written its answer, or will not: it neither writes nor reads any more."""
        self._server = self._read_ahead = None
        self._close_far_end()

    def _close_far_end(self) -> None:
        if self._far_end is not None:
            self._far_end.close()
            self._far_end = None
