"""OpenSSL's error queue, which belongs to a thread and not to a connection.

Whether a call of OpenSSL has failed, or must only be repeated, is read from the queue of the thread
first (SSL_get_error(3)). So an entry that one connection leaves behind makes a call for another one
fail. CPython 3.14 with OpenSSL 3.5 leaves one: a write to a peer that has reset the connection puts the
error of the system call into the queue, and Python raises its ``OSError`` without emptying that. From
then on every read of this thread that finds nothing raises the same. An object that is collected in
this thread may leave entries as well, with any version.
"""

from __future__ import annotations

import _ssl
import functools
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from .._core import call_after

__all__ = ("certain",)

A = TypeVar("A")
R = TypeVar("R")


def certain(call: Callable[[A], R], argument: A) -> R:
    """Call a method of an SSL object. What it raises is the fate of that connection.

    A call that fails for an entry of the queue has changed nothing, so it may be repeated; one that
    fails for its own connection fails again.

    :param call: ``read`` or ``write`` of an SSL object; not from two threads at once.
    :param argument: what to call it with.
    """
    try:
        return call(argument)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise
    except OSError:  # among them ssl.SSLError
        # No Python code runs in this thread between the two, so nothing can leave an entry there.
        return call_after(emptying(), call, argument)


@functools.cache
def emptying() -> Callable[[], object]:
    """What empties the queue of the calling thread: the step of a handshake, which OpenSSL begins with
    that, and Python ends with that. This one is in memory, has no peer, and is never any further."""
    context: Any = _ssl._SSLContext(_ssl.PROTOCOL_TLS_SERVER)  # not gevent's or eventlet's
    ours = context._wrap_bio(_ssl.MemoryBIO(), _ssl.MemoryBIO(), True)
    step: Callable[[], object] = ours.do_handshake
    return step
