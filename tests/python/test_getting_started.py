"""The programs of the getting-started page, as a reader would type them (with the import that the first
one forgets), each in a process of its own, over real TCP."""

from __future__ import annotations

import time

import pytest
import websocket
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

HEAD = """
from flask import Flask
from flask_websockets import WebSockets, WebSocket

app = Flask(__name__)
websockets = WebSockets(app)
"""

TAIL = """
app.run(host="localhost", port=PORT)
"""

EMPTY = (
    HEAD
    + """
@websockets.route("/ws")
def websocket_route(ws: WebSocket) -> None:
    pass
"""
    + TAIL
)

ECHO = (
    HEAD
    + """
@websockets.route("/ws")
def websocket_route(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send_bytes(data)
    print("the loop has ended")

@websockets.route("/once")
def once(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send_bytes(data)
        break
    print(f"closed: {ws.closed}")  # in one piece, beside the server's log
"""
    + TAIL
)

SUBSCRIBE = (
    HEAD
    + """
@websockets.route("/ws")
def websocket_route(ws: WebSocket) -> None:
    with websockets.subscribe(ws, ["server_time"]):
        for data in ws.iter_data():    # keep listening to the websocket so it doesn't disconnect
            pass

@websockets.route("/raises")
def raises(ws: WebSocket) -> None:
    try:
        with websockets.subscribe(ws, ["server_time"]):
            for data in ws.iter_data():
                raise KeyError(data)
    except KeyError:
        ws.send("subscribed to: " + ", ".join(ws.channels))
        ws.receive()

@app.route("/publish")
def publish() -> str:
    return str(websockets.publish("now", ["server_time"]))
"""
    + TAIL
)

CLOCK = """
import time
from threading import Thread
from flask import Flask
from flask_websockets import WebSocket, WebSockets

app = Flask(__name__)
websockets = WebSockets(app)


@websockets.route("/ws")
def websocket_route(ws: WebSocket) -> None:
    with websockets.subscribe(ws, ["server_time"]):
        for data in ws.iter_data():    # keep listening to the websocket so it doesn't disconnect
            pass


def publish_server_time() -> None:
    while True:
        websockets.publish(str(time.time()), ["server_time"])
        time.sleep(1)


Thread(target=publish_server_time).start()
app.run(host="localhost", port=PORT)
"""


def get(program, path: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{program.port}{path}", timeout=10) as answer:
        return answer.read().decode()


def test_an_empty_route_connects_then_closes_with_1000(program):
    server = program(EMPTY)
    client = server.connect("/ws")
    assert client.recv_data() == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xe8")
    with connect(server.url("/ws")) as other, pytest.raises(ConnectionClosedOK) as closed:
        other.recv(timeout=10)
    assert closed.value.rcvd.code == 1000
    assert "Traceback" not in server.log


def test_echo_sends_back_and_ends_at_disconnect(program):
    server = program(ECHO)
    client = server.connect("/ws")
    client.send("text")
    assert client.recv_data() == (websocket.ABNF.OPCODE_BINARY, b"text")
    client.send_binary(bytes(range(256)) * 1000)
    assert client.recv() == bytes(range(256)) * 1000
    client.close()
    with connect(server.url("/ws")) as other:
        for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            other.send(b"x" * size)
            assert other.recv(timeout=10) == b"x" * size
    deadline = time.monotonic() + 10
    while server.log.count("the loop has ended") < 2:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)
    assert "Traceback" not in server.log


def test_leaving_the_loop_early_disconnects(program):
    server = program(ECHO)
    with connect(server.url("/once")) as client:
        client.send(b"one")
        assert client.recv(timeout=10) == b"one"
        with pytest.raises(ConnectionClosedOK):
            client.recv(timeout=10)
    # The return has disconnected it: until then the handler could have gone on.
    assert "closed: False" in server.log


def test_the_with_block_unsubscribes_however_it_is_left(program):
    server = program(SUBSCRIBE)
    assert get(server, "/publish") == "0"
    with connect(server.url("/ws")) as first, connect(server.url("/raises")) as second:
        second.send("x")
        assert second.recv(timeout=10) == "subscribed to: "  # the exception has ended it
        assert get(server, "/publish") == "1"
        assert first.recv(timeout=10) == "now"
    deadline = time.monotonic() + 10
    while get(server, "/publish") != "0":
        assert time.monotonic() < deadline
    assert "Traceback" not in server.log


def test_the_clock_reaches_several_clients_from_a_plain_thread(program):
    server = program(CLOCK)
    with connect(server.url("/ws")) as modern:
        clients = [server.connect("/ws") for _ in range(3)] + [modern]
        seen = [{client.recv() for _ in range(3)} for client in clients]
    common = set.intersection(*seen)
    assert len(common) >= 2  # the same messages for all, but perhaps for the first or the last
    assert all(abs(float(text) - time.time()) < 10 for text in common)


def test_ctrl_c_ends_the_clock_and_says_goodbye(program):
    server = program(CLOCK)
    client = server.connect("/ws")
    client.recv()
    server.interrupt()
    opcode, payload = client.recv_data()
    while opcode != websocket.ABNF.OPCODE_CLOSE:
        opcode, payload = client.recv_data()
    assert payload[:2] == (1001).to_bytes(2, "big")
    assert server.wait(10) == 0  # although the clock's thread is no daemon
    assert "Traceback" not in server.log
