"""A greenlet that never has to wait, because its peer is fast, lets others run all the same."""

from __future__ import annotations

import json
import socket
import sys

import kinds
import pytest
import wire
from conftest import free_port, wait_for
from fairness import BUDGET, longest_run

COUNT = 5000

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
