"""Nothing polls: 1,000 connections that do nothing cost nothing but memory, of which each kind of view
takes what docs/views.md says."""

from __future__ import annotations

import sys
import time
import urllib.request

import pytest
from conftest import free_port
from processes import cpu_seconds, descriptors, resident_bytes, switches, thread_ids

CONNECTIONS = 1000

APP = """
import logging
import os
from flask import Flask
from flask_websockets import WebSockets, WebSocket, WebSocketView

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/receive")
def receive(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)

@websockets.route("/subscribe")
def subscribe(ws: WebSocket) -> None:
    with websockets.subscribe(ws, "all"):
        ws.receive()

@websockets.route("/class")
class View(WebSocketView):
    def on_message(self, ws, data):
        ws.send(data)

@websockets.route("/class-app")
class App(View):
    context = "app"

@websockets.route("/async")
async def coroutine(ws):
    async for data in ws.iter_data():
        await ws.send(data)

@app.get("/pid")
def pid():
    return str(os.getpid())
"""
RUN = 'app.run(host="127.0.0.1", port=PORT)\n'


@pytest.mark.timeout(120)
def test_a_thousand_idle_connections_sleep(program):
    server = program(APP + RUN)
    pid = server.process.pid
    memory = resident_bytes(pid)
    clients = [server.connect(("/receive", "/subscribe")[i % 2]) for i in range(CONNECTIONS)]
    print(f"\nmemory per connection: {(resident_bytes(pid) - memory) / CONNECTIONS / 1024:.1f} KB")
    print(f"descriptors per connection: {descriptors(pid) / CONNECTIONS:.2f}")
    time.sleep(1)  # the last handler has gone to sleep
    cpu, slept, begun = cpu_seconds(pid), switches(pid), time.monotonic()
    time.sleep(5)
    elapsed = time.monotonic() - begun
    used = (cpu_seconds(pid) - cpu) / elapsed
    wakes = (switches(pid) - slept) / elapsed
    print(f"CPU {used:.2%} of a core, {wakes:.1f} context switches a second in the whole process")
    assert used < 0.01
    # The server's own accept loop wakes twice a second; per connection there is nothing.
    assert wakes < 20
    for client in clients[:100:2]:
        client.send("awake")
        assert client.recv() == "awake"


#: By its path, how many KB a websocket takes at most, and how many threads: more KB than docs/views.md
#: says, as versions of Python, Flask and the C library differ.
TAKES = {"/receive": (40, 1), "/class": (12, 0), "/class-app": (4, 0), "/async": (20, 0)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", TAKES)
def test_what_a_websocket_takes_while_it_waits(program, path):
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "app:app"]
    server = program(APP, port, command)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/pid", timeout=10) as answer:
        pid = int(answer.read())

    def connect(count):
        for _ in range(count):
            client = server.connect(path)
            client.send("x")
            assert client.recv() == "x"

    connect(200)  # what is made once is there
    memory, threads = resident_bytes(pid), len(thread_ids(pid))
    connect(CONNECTIONS)
    kilobytes = (resident_bytes(pid) - memory) / CONNECTIONS / 1024
    more = (len(thread_ids(pid)) - threads) / CONNECTIONS
    print(f"\n{path}: {kilobytes:.1f} KB and {more:.2f} threads for each websocket")
    assert kilobytes <= TAKES[path][0] and round(more) == TAKES[path][1]
