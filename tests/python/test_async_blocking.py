"""An async view that blocks the event loop is named, once; and nothing else is."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import wire
from async_loops import event_loops as event_loops
from conftest import wait_for

from flask_websockets.handlers import watchdog


@pytest.fixture
def views(application):
    """Views that block, each in its own way, when they are told for how long, in ms."""

    @application.route("/handler")
    async def handler(ws):
        async for data in ws:
            time.sleep(int(data) / 1000)
            await ws.send(data)

    @application.route("/busy")
    async def busy(ws):
        async for data in ws:
            end = time.monotonic() + int(data) / 1000
            while time.monotonic() < end:
                pass
            await ws.send(data)

    @application.route("/child")
    async def child(ws):
        async def sleeps(seconds):
            time.sleep(seconds)

        async for data in ws:
            await asyncio.create_task(sleeps(int(data) / 1000))
            await ws.send(data)

    @application.route("/timer")
    async def timer(ws):
        """No message makes it run."""
        seconds = int(await ws.receive()) / 1000
        await ws.send("in")
        while not ws.closed:
            await asyncio.sleep(0.01)
            time.sleep(seconds)


def ask(application, path, text):
    with wire.connect((application.server or application.serve()).port, path) as connection:
        for _ in range(2):
            connection.sendall(wire.frame(1, text))
            wire.read_frame(connection)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("path", ["/handler", "/busy", "/child"])
def test_a_view_that_blocks_is_named_once(event_loops, application, views, caplog, path):
    ask(application, path, b"300")
    ask(application, path, b"300")
    (text,) = wait_for(lambda: warnings(caplog))
    seconds = float(text.split(" for ")[1].split(" s ")[0])
    assert 0.1 <= seconds < 5, text
    assert __file__ in text  # the line that blocks
    if path != "/child" or hasattr(asyncio.Task, "get_context"):
        assert f"async view {path[1:]} " in text
    else:
        assert "sleeps" in text


def test_each_view_that_blocks_is_named(event_loops, application, views, caplog):
    for path in ("/handler", "/busy"):
        ask(application, path, b"300")
    wait_for(lambda: len(warnings(caplog)) == 2)


def test_one_that_no_message_makes_run_is_named_too(
    event_loops, application, views, caplog, monkeypatch
):
    monkeypatch.setattr(watchdog, "QUIET_LOOKS", 2)
    monkeypatch.setattr(watchdog, "LOOK_EVERY_QUIET", 0.05)
    with wire.connect(application.serve().port, "/timer") as connection:
        connection.sendall(wire.frame(1, b"250"))
        wire.read_frame(connection)
        wait_for(lambda: warnings(caplog))


def test_what_blocks_for_a_short_time_is_not_named(event_loops, application, views, caplog):
    for path in ("/handler", "/busy", "/child"):
        ask(application, path, b"30")
    assert warnings(caplog) == []


def test_it_sleeps_while_all_handlers_wait_for_messages(
    event_loops, application, views, caplog, monkeypatch
):
    """And is awake again with the next one."""
    monkeypatch.setattr(watchdog, "QUIET_LOOKS", 2)
    with wire.connect(application.serve().port, "/handler") as connection:
        connection.sendall(wire.frame(1, b"0"))
        wire.read_frame(connection)
        dog = event_loops["loop"]._watchdog
        wait_for(lambda: dog._sleeps)
        looked = []
        monkeypatch.setattr(asyncio, "current_task", lambda loop: looked.append(loop))
        time.sleep(0.2)
        assert looked == []
        monkeypatch.undo()
        connection.sendall(wire.frame(1, b"300"))
        wire.read_frame(connection)
        wait_for(lambda: warnings(caplog))


def test_without_a_thread_for_it_nothing_is_watched_and_all_else_works(
    event_loops, application, views, caplog, monkeypatch
):
    def no_thread(thread):
        if thread.name == "ws watchdog":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        ask(application, "/handler", b"300")
    assert warnings(caplog) == []
    ask(application, "/handler", b"300")
    wait_for(lambda: warnings(caplog))
