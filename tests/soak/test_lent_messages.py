"""One message of 64 MiB that is sent to eight slow readers at once is in memory once, whatever its
handlers run on; and what becomes of it when a handler does not wait for its end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import sys
import time
import urllib.request

import kinds
import pytest
import wire
from conftest import free_port, wait_for
from processes import peak_bytes, reset_peak, resident_bytes

MIB = 1 << 20
SIZE = 64 * MIB
READERS = 8
#: Beyond the message itself.
ALLOWED = 80 * MIB

APP = """
import asyncio, gc, os, time
if os.environ["ON"] == "gevent":
    from gevent import monkey; monkey.patch_all()
if os.environ["ON"] == "eventlet":
    import eventlet; eventlet.monkey_patch()
import hashlib, logging
from flask import Flask
from flask_websockets import ConnectionClosed, WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
app.config["WEBSOCKETS_SEND_TIMEOUT"] = 20
websockets = WebSockets(app)
BYTES = hashlib.shake_128(b"seed").digest(1 << 16) * 1024  # what does not compress
TEXT = "a" * len(BYTES)
WIDE = "ж" * (len(BYTES) // 2)
KINDS = {"bytes": BYTES, "text": TEXT, "wide": WIDE, "buffer": bytearray(BYTES)}

@app.get("/collect")
def collect():
    return str(gc.collect())

@websockets.route("/function/<kind>")
def function(ws, kind):
    ws.send("ready")
    ws.receive()
    ws.send(KINDS[kind])
    ws.send("sent")
    ws.receive()

@websockets.route("/async/<kind>")
async def coroutine(ws, kind):
    await ws.send("ready")
    await ws.receive()
    await ws.send(KINDS[kind])
    await ws.send("sent")
    await ws.receive()

@websockets.route("/async/cancelled/<int:size>")
async def cancelled(ws, size):
    # The only reference to the bytes is the call's.
    try:
        await asyncio.wait_for(ws.send(bytearray(BYTES[:size])), 0.3)
    except asyncio.TimeoutError:
        junk = [bytes(size) for _ in range(2)]  # takes their place, if they are freed
        await ws.send(b"timed out")
    await ws.receive()

@websockets.route("/function/cancelled/<int:size>")
def killed(ws, size):
    if os.environ["ON"] == "gevent":
        from gevent import Timeout
    else:
        from eventlet import Timeout
    try:
        with Timeout(0.3):
            ws.send(bytearray(BYTES[:size]))
    except Timeout:
        junk = [bytes(size) for _ in range(2)]
        ws.send(b"timed out")
    ws.receive()

@websockets.route("/async/exported")
async def exported(ws):
    data = bytearray(BYTES)
    task = asyncio.ensure_future(ws.send(data))
    await asyncio.sleep(0.2)
    try:
        data.clear()
    except BufferError:
        await task
        data.clear()
        await ws.send("resizing was refused")
    await ws.receive()

on = os.environ["ON"]
if on == "gevent":
    from gevent.pywsgi import WSGIServer
    WSGIServer(("127.0.0.1", PORT), app, log=None).serve_forever()
elif on == "eventlet":
    import eventlet.wsgi
    eventlet.wsgi.server(eventlet.listen(("127.0.0.1", PORT)), app, log_output=False)
else:
    app.run("127.0.0.1", PORT, threaded=True)
"""

RUNS = {
    "function views on threads": ("threads", "/function"),
    "async views": ("threads", "/async"),
    "function views on gevent": ("gevent", "/function"),
    "function views on eventlet": ("eventlet", "/function"),
}


@pytest.fixture(params=RUNS, ids=list(RUNS))
def run(request, program):
    """The server, and where its views are."""
    on, path = RUNS[request.param]
    port = free_port()
    environment = {"ON": on, "PYTHONPATH": kinds.python_path(kinds.FOLDER)}
    command = [sys.executable, "-u", "-c", APP.replace("PORT", str(port))]
    return program(None, port, command, environment), path


@pytest.fixture
def connect(run):
    """Connects to the view with this path."""
    server, path = run
    with contextlib.ExitStack() as stack:
        yield lambda more: stack.enter_context(wire.connect(server.port, path + more, timeout=60))


def connect_slow(connect, path):
    """A peer that has read its first message, and reads no further by itself."""
    connection = connect(path)
    assert wire.read_frame(connection) == (0x81, b"ready")
    return connection


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["bytes", "text", "wide", "buffer"])
def test_64_mib_to_eight_slow_readers_is_in_memory_once(run, connect, kind):
    pid = run[0].process.pid
    # The first one makes what is made once, such as the UTF-8 that a str keeps.
    readers = [connect_slow(connect, f"/{kind}") for _ in range(READERS + 1)]
    first = readers.pop()
    first.sendall(wire.frame(1, b"go"))
    opcode, payload = wire.read_frame(first)
    digest = hashlib.sha256(payload).digest()
    assert len(payload) == SIZE
    assert wire.read_frame(first) == (0x81, b"sent")
    del payload
    before = resident_bytes(pid)
    reset_peak(pid)
    for reader in readers:
        reader.sendall(wire.frame(1, b"go"))
    time.sleep(1)

    def read(reader):
        got_opcode, got = wire.read_frame(reader)
        assert (got_opcode, hashlib.sha256(got).digest()) == (opcode, digest)
        assert wire.read_frame(reader) == (0x81, b"sent")

    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, readers))
    grown = peak_bytes(pid) - before
    print(f"\n{run[1]}/{kind}: {grown / MIB:.1f} MiB more for {READERS} readers", end="")
    assert grown < ALLOWED


EVENT_LOOPS = {name: RUNS[name] for name in RUNS if name != "function views on threads"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("run", EVENT_LOOPS, indirect=True, ids=list(EVENT_LOOPS))
def test_a_send_that_is_cancelled_half_way_is_finished(connect):
    """The peer gets the whole message, with the bytes that it had, and then what was sent after it."""
    size = 40 * MIB
    expected = hashlib.shake_128(b"seed").digest(1 << 16) * (size >> 16)
    connections = [connect(f"/cancelled/{size}") for _ in range(3)]
    time.sleep(1)
    for connection in connections:
        opcode, payload = wire.read_frame(connection)
        assert opcode == 0x82
        assert payload == expected
        assert wire.read_frame(connection) == (0x82, b"timed out")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("run", EVENT_LOOPS, indirect=True, ids=list(EVENT_LOOPS))
def test_a_peer_that_vanishes_gives_the_memory_back(run, connect):
    pid = run[0].process.pid
    connect_slow(connect, "/bytes").close()
    before = resident_bytes(pid)
    for _ in range(5):
        # The C library keeps no block of this size when it is freed.
        connections = [connect(f"/cancelled/{40 * MIB}") for _ in range(3)]
        time.sleep(0.1)  # while it waits for the loan, and while a copy is sent
        connections.pop().close()
        time.sleep(0.4)
        for connection in connections:
            connection.close()

    def is_back():
        # An exception and the frames that it went through refer to each other.
        urllib.request.urlopen(f"http://127.0.0.1:{run[0].port}/collect", timeout=10).close()
        return resident_bytes(pid) < before + 24 * MIB

    wait_for(is_back, what="the memory to come back")


@pytest.mark.parametrize("run", ["async views"], indirect=True)
def test_a_mutable_buffer_cannot_be_resized_while_it_is_lent(connect):
    connection = connect("/exported")
    time.sleep(0.5)
    assert len(wire.read_frame(connection)[1]) == SIZE
    assert wire.read_frame(connection) == (0x81, b"resizing was refused")
