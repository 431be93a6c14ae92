"""A handler that never has to wait, because its peer is fast, lets others run all the same."""

from __future__ import annotations

import asyncio
import collections
import socket
import sys
import threading
import time

import pytest
import wire
from conftest import wait_for
from fairness import BUDGET, longest_run

from flask_websockets import _core

#: FWS_BATCH in core/tuning.h.
TAKEN_AT_ONCE = 64
COUNT = 5000


# ---- coroutines ----


def serve_coroutine(application, act):
    """`act(ws, ticks)` runs beside a task that counts the rounds of the event loop in ticks[0]."""
    application.app.config["WEBSOCKETS_RECEIVE_QUEUE"] = 4 * COUNT
    results = []

    @application.route("/ws")
    async def view(ws):
        ticks = [0]

        async def tick():
            while True:
                ticks[0] += 1
                await asyncio.sleep(0)

        ticker = asyncio.ensure_future(tick())
        await ws.receive()
        await asyncio.sleep(0.3)  # and all that the peer has sent is there
        results.append(await act(ws, ticks))
        ticker.cancel()

    return application.serve(), results


def test_a_coroutine_that_receives(application):
    async def receive(ws, ticks):
        return [(await ws.receive(), ticks[0])[1] for _ in range(COUNT)]

    server, results = serve_coroutine(application, receive)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") * (COUNT + 1))
        wait_for(lambda: results)
    assert longest_run(results[0]) <= BUDGET


def test_a_coroutine_that_receives_without_waiting(application):
    """receive(0) always gives what is there."""

    async def receive(ws, ticks):
        marks = []
        while (await ws.receive(0)) is not None:
            marks.append(ticks[0])
        return marks

    server, results = serve_coroutine(application, receive)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") * (COUNT + 1))
        wait_for(lambda: results)
    assert len(results[0]) == COUNT
    assert longest_run(results[0]) <= BUDGET


def test_a_coroutine_that_asks_in_vain(application):
    async def receive(ws, ticks):
        return [(await ws.receive(0), ticks[0])[1] for _ in range(100)]

    server, results = serve_coroutine(application, receive)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x"))
        wait_for(lambda: results)
    assert longest_run(results[0]) == 1


def test_a_coroutine_that_sends(application):
    async def send(ws, ticks):
        return [(await ws.send("x"), ticks[0])[1] for _ in range(COUNT)]

    server, results = serve_coroutine(application, send)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x"))
        wait_for(lambda: results)
    assert longest_run(results[0]) <= BUDGET


def test_a_coroutine_that_takes_long_for_each_message(application):
    async def receive(ws, ticks):
        marks = []
        for _ in range(20):
            await ws.receive()
            time.sleep(0.003)
            marks.append(ticks[0])
        return marks

    server, results = serve_coroutine(application, receive)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x" * 10_000) * 21)
        wait_for(lambda: results)
    assert longest_run(results[0]) <= 3


def test_one_task_reads_while_another_sends_and_a_third_too(application):
    """All three wait for the same websocket."""
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 100_000
    application.app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 1 << 21
    ended = []

    @application.route("/ws")
    async def view(ws):
        async def read():
            return [await ws.receive() for _ in range(10)]

        async def write(byte):
            for _ in range(20):
                await ws.send(byte * 50_000)

        got, *_ = await asyncio.gather(read(), write(b"a"), write(b"b"))
        await ws.send("end")
        ended.append(got)

    with wire.connect(application.serve().port, "/ws") as connection:
        time.sleep(0.3)  # and both senders wait for room, and the reader for a message
        for number in range(10):
            connection.sendall(wire.frame(1, str(number).encode()))
        counts = collections.Counter(wire.read_frame(connection) for _ in range(40))
        assert counts == {(0x82, b"a" * 50_000): 20, (0x82, b"b" * 50_000): 20}
        assert wire.read_frame(connection) == (0x81, b"end")
        assert ended == [[str(number) for number in range(10)]]


# ---- threads ----


@pytest.fixture
def no_switching():
    """The interpreter takes the GIL from nobody who keeps it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(100)
    yield
    sys.setswitchinterval(before)


def serve_thread(application, act):
    application.app.config["WEBSOCKETS_RECEIVE_QUEUE"] = 4 * COUNT
    results = []

    @application.route("/ws")
    def view(ws):
        ticks, stop = [0], threading.Event()

        def tick():
            while not stop.is_set():
                ticks[0] += 1
                time.sleep(0)

        ticker = threading.Thread(target=tick)
        ws.receive()
        time.sleep(0.5)  # and the engine has read all that the peer has sent
        ticker.start()
        try:
            results.append(act(ws, ticks))
        finally:
            stop.set()
            ticker.join()

    return application.serve(), results


#: A thread that the release of the GIL wakes may come too late for it, on a busy machine.
LATE = 4


def test_a_thread_that_receives(application, no_switching):
    def receive(ws, ticks):
        return [(ws.receive(), ticks[0])[1] for _ in range(4 * COUNT - 1)]

    server, results = serve_thread(application, receive)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") * 4 * COUNT)
        wait_for(lambda: results)
    assert longest_run(results[0]) <= LATE * BUDGET


def test_a_thread_that_iterates(application, no_switching):
    def receive(ws, ticks):
        iterator = ws.iter_data()
        return [(next(iterator), ticks[0])[1] for _ in range(4 * COUNT - 1)]

    server, results = serve_thread(application, receive)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") * 4 * COUNT)
        wait_for(lambda: results)
    assert longest_run(results[0]) <= LATE * BUDGET


def test_a_thread_that_sends(application, no_switching):
    def send(ws, ticks):
        return [(ws.send("x"), ticks[0])[1] for _ in range(4 * COUNT)]

    server, results = serve_thread(application, send)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x"))
        wait_for(lambda: results)
    assert longest_run(results[0]) <= LATE * BUDGET


def test_a_thread_that_sends_to_one_after_the_other(application, no_switching):
    """The budget is the thread's: it does not help to use many websockets."""
    peers = []

    @application.route("/peer")
    def peer(ws):
        peers.append(ws)
        ws.send("in")
        ws.receive()

    def send(ws, ticks):
        return [(peers[i % 4].send("x"), ticks[0])[1] for i in range(4 * COUNT)]

    server, results = serve_thread(application, send)
    connected = [server.connect("/peer") for _ in range(4)]
    assert [one.recv() for one in connected] == ["in"] * 4
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x"))
        wait_for(lambda: results)
    assert longest_run(results[0]) <= LATE * BUDGET


# ---- the notifier ----


def test_an_event_loop_gets_the_changed_websockets_in_portions():
    notifier = _core.Notifier()
    engine = _core.Engine(
        ping_interval=0,
        ping_timeout=0,
        close_timeout=1,
        send_timeout=0,
        max_message_size=1000,
        max_fragments=10,
        max_message_rate=0,
        receive_queue=16,
        send_buffer=1000,
        slow_consumer="close",
        compression_level=1,
        compression_threshold=100,
        callback_threads=1,
    )
    websockets = []
    for _ in range(100):
        ours, theirs = socket.socketpair()
        websockets.append(_core.WebSocket())
        with ours:
            engine.attach(websockets[-1], _core.Descriptor(ours), b"", b"", notifier=notifier)
        theirs.close()
    wait_for(lambda: all(websocket.closed for websocket in websockets))
    first, second, third = notifier.take(), notifier.take(), notifier.take()
    assert (len(first), len(second), third) == (TAKEN_AT_ONCE, 100 - TAKEN_AT_ONCE, [])
    assert sorted(first + second) == sorted(websocket._token for websocket in websockets)
