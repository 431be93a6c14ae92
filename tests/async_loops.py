"""What tests of async views share: an event loop of each kind, and a count of what is left in it."""

from __future__ import annotations

import asyncio
import sys

import pytest
import wire
from conftest import wait_for

from flask_websockets.handlers import asynchronous


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loops(request, monkeypatch):
    """Async views run in a loop of the named kind, made anew. To be asked for before ``application``,
    so that it ends after that. At the end nothing may be left in it."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    else:
        pytest.importorskip("uvloop", exc_type=ImportError)
    loops: dict = {}
    monkeypatch.setattr(asynchronous, "_loops", loops)
    yield loops
    loop = loops.get("loop")
    if loop is not None:
        wait_for(lambda: what_is_left(loop) == {}, what=f"{what_is_left(loop)} to end")
        assert loop.thread.is_alive()
        loop.stop()
        assert not loop.thread.is_alive()
        loop.close()


def what_is_left(loop) -> dict:
    left = {
        "handlers": list(loop.handlers),
        "watched": list(loop._watched.values()),
        "tasks": [task for task in asyncio.all_tasks(loop.loop) if not task.done()],
    }
    return {name: some for name, some in left.items() if some}


CLOSE = wire.frame(8, b"\x0f\xa0")  # 4000


def connect(application, path):
    """A connection whose handler has sent one message, and so waits for what comes."""
    connection = wire.connect((application.server or application.serve()).port, path)
    assert wire.read_frame(connection)[1] == b"in"
    return connection


def check_echo(connection):
    connection.sendall(wire.frame(1, b"alive"))
    assert wire.read_frame(connection)[1] == b"alive"
