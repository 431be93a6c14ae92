"""Long messages: whole, in order, no trouble for others; and bytes that change while they are sent."""

from __future__ import annotations

import asyncio
import threading

import pytest
import websockets.sync.client
from conftest import wait_for

from flask_websockets import WebSocketView

LONG = ("Größe, 大きさ, 🙂 and plain words " * 250_000)[: 4 << 20]


def connect(server, path="/ws"):
    return websockets.sync.client.connect(server.url(path), max_size=None)


def add_echoes(application):
    application.app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 64 << 20

    @application.route("/function")
    def function(ws):
        for data in ws.iter_data():
            ws.send(data)
            ws.send("next")

    @application.route("/class")
    class Class(WebSocketView):
        def on_message(self, ws, data):
            ws.send(data)
            ws.send("next")

    @application.route("/async")
    async def asynchronous(ws):
        async for data in ws.iter_data():
            await ws.send(data)
            await ws.send("next")


@pytest.mark.parametrize("path", ["/function", "/class", "/async"])
@pytest.mark.parametrize("takeover", [False, True])
def test_a_long_message_comes_back_whole_and_in_order(application, path, takeover):
    application.app.config["WEBSOCKETS_COMPRESSION"] = {"context_takeover": takeover, "level": 9}
    add_echoes(application)
    with connect(application.serve(), path) as client:
        for message in (LONG, LONG.encode(), "short", "x" * (2 << 20), b"\x00" * (2 << 20)):
            client.send(message)
            assert client.recv(timeout=30) == message
            assert client.recv(timeout=30) == "next"


def test_an_event_loop_has_its_turn_while_a_long_message_becomes_a_str(application):
    application.app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 64 << 20
    turns = []

    @application.route("/ws")
    async def count(ws):
        await ws.send("ready")
        await asyncio.sleep(1.5)  # it has come, and is only to be converted
        number = 0
        while (data := ws._next()) is None:
            number += 1
            await asyncio.sleep(0.001)
        turns.append((number, data == LONG))

    with connect(application.serve()) as client:
        assert client.recv(timeout=10) == "ready"
        client.send(LONG)
        wait_for(lambda: turns)
    megabytes = len(LONG.encode()) >> 20
    number, same = turns[0]
    assert same
    assert number >= megabytes  # at most a megabyte in each


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("size", [3000, 4096, 60_000, 300_000])
def test_bytes_that_another_thread_rewrites_break_no_frame(application, tmp_path, takeover, size):
    """As readinto() of a file does, without the GIL. They may be torn; but what arrives is DEFLATE, and
    as long as it says, or the client would close."""
    application.app.config["WEBSOCKETS_COMPRESSION"] = {"context_takeover": takeover}
    buffer = bytearray(size)
    file = tmp_path / "contents"
    file.write_bytes(
        bytes(b"abcd"[i * 7 % 4] if i // size % 2 else i * i // 7 % 256 for i in range(2 * size))
    )
    done = threading.Event()

    def rewrite():
        with file.open("rb", buffering=0) as contents:
            while not done.is_set():
                for place in (0, size, size // 2):
                    contents.seek(place)
                    contents.readinto(buffer)

    @application.route("/ws")
    def send(ws):
        for _ in range(150):
            ws.send(buffer)
            ws.send(memoryview(buffer).toreadonly())
        ws.receive()

    threads = [threading.Thread(target=rewrite) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with connect(application.serve()) as client:
            assert {len(client.recv(timeout=30)) for _ in range(300)} == {size}
    finally:
        done.set()
        for thread in threads:
            thread.join()
