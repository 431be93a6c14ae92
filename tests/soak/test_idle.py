"""Nothing polls: 1,000 connections that do nothing cost nothing."""

from __future__ import annotations

import time

import pytest
from processes import cpu_seconds, descriptors, resident_bytes, switches

CONNECTIONS = 1000

APP = """
import logging
from flask import Flask
from flask_websockets import WebSockets, WebSocket

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

app.run(host="127.0.0.1", port=PORT)
"""


@pytest.mark.timeout(120)
def test_a_thousand_idle_connections_sleep(program):
    server = program(APP)
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
