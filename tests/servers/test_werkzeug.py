"""The Werkzeug development server, started as users start it."""

from __future__ import annotations

import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

import pytest
import websocket
from conftest import accepts, free_port, wait_for

APP = """
import os, sys, time
from flask import Flask
from flask_websockets import WebSockets, WebSocket

app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)

@websockets.route("/sleep")
def sleep(ws: WebSocket) -> None:
    ws.send("asleep")
    time.sleep(60)

@websockets.route("/bug")
def bug(ws: WebSocket) -> None:
    raise KeyError("a bug")

@app.route("/")
def index() -> str:
    return "VERSION"
"""

RUN = """
if __name__ == "__main__":
    app.run(host="127.0.0.1", port=PORT, OPTIONS)
"""


def start(program, **options):
    text = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return program(APP + RUN.replace("OPTIONS", text))


def page(server) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as answer:
        return answer.read().decode()


def echoes(client, data="hello") -> bool:
    client.send(data)
    return client.recv() == data


@pytest.mark.parametrize("options", [{}, {"threaded": False}, {"debug": True, "use_reloader": False}])
def test_sockets_and_pages_side_by_side(program, options):
    server = start(program, **options)
    clients = [server.connect("/echo") for _ in range(20)]
    for _ in range(3):
        assert all(echoes(client) for client in clients)
        assert page(server) == "VERSION"
    for client in clients:
        client.close()
    plain = re.sub(r"\x1b\[\d+m", "", server.log)  # the access log is in colours
    assert plain.count('"GET /echo HTTP/1.1" 101 -') == 20
    assert "Traceback" not in server.log and "rror" not in server.log


def test_200_concurrent(program):
    server = start(program)
    clients = [server.connect("/echo") for _ in range(200)]
    for client in clients:
        client.send("x" * 1000)
    assert all(client.recv() == "x" * 1000 for client in clients)


def test_a_mebibyte_both_ways(program):
    client = start(program).connect("/echo")
    assert echoes(client, "ä" * (1 << 19))


def test_the_debugger_shows_a_bug_that_comes_before_the_accept(program):
    server = start(program, debug=True, use_reloader=False)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        server.connect("/bug")
    assert refused.value.status_code == 500
    assert b"KeyError" in refused.value.resp_body  # the debugger's page


@pytest.mark.parametrize("path", ["/echo", "/sleep"])
def test_ctrl_c_says_1001_and_leaves_in_time(program, path):
    server = start(program)
    client = server.connect(path)
    if path == "/sleep":
        assert client.recv() == "asleep"
    else:
        assert echoes(client)
    begun = time.monotonic()
    server.interrupt()
    assert client.recv_data() == (8, (1001).to_bytes(2, "big") + b"server shutting down")
    assert server.wait(10) == 0
    assert time.monotonic() - begun < 7  # the sleeping handler gets WEBSOCKETS_CLOSE_TIMEOUT, 5 s
    assert "Traceback" not in server.log


def test_a_second_ctrl_c_ends_at_once(program):
    server = start(program)
    client = server.connect("/sleep")
    client.recv()
    server.interrupt()
    client.recv_data()
    time.sleep(0.3)
    begun = time.monotonic()
    server.interrupt()
    server.wait(10)
    assert time.monotonic() - begun < 3


def test_flask_run_with_reloader_and_debugger(program):
    port = free_port()
    command = [sys.executable, "-m", "flask", "run", "--debug", "--port", str(port)]
    server = program(APP, port=port, command=command)
    wait_for(lambda: accepts(port), 20)
    client = server.connect("/echo")
    assert echoes(client)
    source = pathlib.Path(server.path)
    time.sleep(1.1)  # the reloader compares modification times
    source.write_text(APP.replace("VERSION", "second"))
    assert client.recv_data()[1][:2] == (1001).to_bytes(2, "big")

    def is_second():
        try:
            return page(server) == "second"
        except (urllib.error.URLError, ConnectionError):
            return False

    wait_for(is_second, 20)
    again = server.connect("/echo")
    assert echoes(again)
    server.interrupt()
    assert again.recv_data()[1][:2] == (1001).to_bytes(2, "big")
    server.wait(10)
    assert "Traceback" not in server.log
