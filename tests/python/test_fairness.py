"""A handler that never has to wait, because its peer is fast, lets others run all the same."""

from __future__ import annotations

import asyncio
import collections
import json
import socket
import sys
import threading
import time

import kinds
import pytest
import wire
from conftest import free_port, wait_for

from flask_websockets import _core

#: FWS_SLICE_MESSAGES in core/tuning.h.
BUDGET = 1024
#: FWS_BATCH in core/tuning.h.
TAKEN_AT_ONCE = 64
COUNT = 5000


def longest_run(marks):
    """How many of the same follow each other."""
    longest = run = 0
    previous = object()
    for mark in marks:
        run = run + 1 if mark == previous else 1
        previous = mark
        longest = max(longest, run)
    return longest


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


# ---- greenlets ----

GREEN = """
import os
if os.environ["GREEN"] == "gevent":
    from gevent import monkey; monkey.patch_all()
    from gevent import sleep, spawn
else:
    import eventlet; eventlet.monkey_patch()
    from eventlet import sleep, spawn
import json
from flask import Flask
from flask_websockets import WebSockets, WebSocketView

app = Flask(__name__)
app.config["WEBSOCKETS_RECEIVE_QUEUE"] = 20000
websockets = WebSockets(app)
marks, ticks = [], [0]

def tick(until):
    while len(marks) < until:
        ticks[0] += 1
        sleep(0)

@app.get("/marks")
def answer():
    return json.dumps(marks)

@websockets.route("/receive/<int:count>")
def receive(ws, count):
    ws.receive()
    spawn(tick, count)
    sleep(0.5)
    for _ in range(count):
        ws.receive()
        marks.append(ticks[0])

@websockets.route("/send/<int:count>")
def send(ws, count):
    ws.receive()
    spawn(tick, count)
    sleep(0.01)
    for _ in range(count):
        ws.send("x")
        marks.append(ticks[0])

@websockets.route("/class/<int:count>")
class View(WebSocketView):
    def on_open(self, ws, count):
        spawn(tick, count)

    def on_message(self, ws, data):
        if data == "slow":
            sleep(0.5)
        else:
            marks.append(ticks[0])

if os.environ["GREEN"] == "gevent":
    from gevent.pywsgi import WSGIServer
    WSGIServer(("127.0.0.1", PORT), app, log=None).serve_forever()
else:
    import eventlet.wsgi
    eventlet.wsgi.server(eventlet.listen(("127.0.0.1", PORT)), app, log_output=False)
"""


@pytest.mark.parametrize("green", ["gevent", "eventlet"])
@pytest.mark.parametrize("path", ["receive", "send", "class"])
def test_a_greenlet(program, green, path):
    port = free_port()
    environment = {"GREEN": green, "PYTHONPATH": kinds.python_path(kinds.FOLDER)}
    command = [sys.executable, "-u", "-c", GREEN.replace("PORT", str(port))]
    program(None, port, command, environment)
    with wire.connect(port, f"/{path}/{COUNT}") as connection:
        connection.sendall(wire.frame(1, b"slow") + wire.frame(1, b"x") * COUNT)

        def marks():
            with socket.create_connection(("127.0.0.1", port)) as page:
                page.sendall(b"GET /marks HTTP/1.0\r\nHost: x\r\n\r\n")
                answer = b"".join(iter(lambda: page.recv(65536), b""))
            got = json.loads(answer.split(b"\r\n\r\n", 1)[1])
            return got if len(got) >= COUNT else None

        # A hub that has just called the greenlet for a timer may look at descriptors next.
        assert longest_run(wait_for(marks, 20)) <= 2 * BUDGET


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
        engine.attach(websockets[-1], ours.detach(), b"", b"", notifier=notifier)
        theirs.close()
    wait_for(lambda: all(websocket.closed for websocket in websockets))
    first, second, third = notifier.take(), notifier.take(), notifier.take()
    assert (len(first), len(second), third) == (TAKEN_AT_ONCE, 100 - TAKEN_AT_ONCE, [])
    assert sorted(first + second) == sorted(websocket._token for websocket in websockets)
