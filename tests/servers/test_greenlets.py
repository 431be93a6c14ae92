"""Handlers that are greenlets of gevent and eventlet."""

from __future__ import annotations

import json
import sys
import urllib.request

import kinds
import pytest
import wire
from conftest import free_port, run_to_the_end, wait_for

RUN = {
    "gevent": """
from gevent import monkey; monkey.patch_all()
from gevent.pywsgi import WSGIServer
from greenlet_app import app
WSGIServer(("127.0.0.1", PORT), app).serve_forever()
""",
    "eventlet": """
import eventlet; eventlet.monkey_patch()
import eventlet.wsgi
from greenlet_app import app
eventlet.wsgi.server(eventlet.listen(("127.0.0.1", PORT)), app)
""",
}


@pytest.fixture(params=RUN)
def server(request, program):
    port = free_port()
    source = RUN[request.param].replace("PORT", str(port))
    environment = {"GREEN": request.param, "PYTHONPATH": kinds.python_path(kinds.FOLDER)}
    return program(None, port, [sys.executable, "-u", "-c", source], environment)


def ends(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ends", timeout=5) as answer:
        return json.load(answer)


def test_a_function_view_is_a_greenlet_of_its_own(server):
    """Not that of the server's call; and in the thread of the event loop, which is the first."""
    assert [server.connect("/where").recv() for _ in range(2)] == ["False True"] * 2


def test_a_receive_that_is_interrupted_loses_nothing(server):
    client = server.connect("/interrupted")
    assert [client.recv() for _ in range(3)] == ["timed out"] * 3
    client.send("all the same")
    assert client.recv() == "all the same"


def test_a_long_message_holds_up_no_other_greenlet_and_survives_an_exception(server):
    client = server.connect("/long")
    assert client.recv() == "ready"
    client.send("long" * (4 << 20))
    assert client.recv() == "True True"


def test_several_greenlets_receive_from_one_websocket(server):
    client = server.connect("/several")
    assert client.recv() == "ready"
    for number in range(100):
        client.send(str(number))
    assert client.recv() == ",".join(map(str, range(100)))
    client.send("after they were killed")
    assert client.recv() == "after they were killed"


def test_threads_beside_the_event_loop(server):
    client = server.connect("/native")
    assert client.recv() == "native True"
    client.send("a")
    assert client.recv() == "published a"


def test_a_pong_that_does_not_come(server):
    """The client is one that answers no ping."""
    with wire.connect(server.port, "/ping") as connection:
        assert wire.read_frame(connection)[0] == 0x89
        assert wire.read_frame(connection) == (0x81, b"the pong did not come in time")
        connection.sendall(wire.frame(1, b"still there"))
        assert wire.read_frame(connection) == (0x81, b"still there")


def test_one_waits_for_room_and_another_for_messages(server):
    with wire.connect(server.port, "/together") as connection:
        connection.sendall(wire.frame(1, b"hello"))
        frames = [wire.read_frame(connection) for _ in range(9)]
        assert frames.count((0x82, b"x" * (1 << 20))) == 8
        assert frames.count((0x81, b"hello")) == 1
        assert wire.read_frame(connection) == (0x81, b"sent")


def test_greenlets_that_wait_end_when_another_closes(server):
    server.connect("/closed-by-another")
    assert wait_for(lambda: ends(server), 3) == [4000, 4000]


def test_a_greenlet_that_ends_with_an_exception_makes_no_other_deaf(server):
    before = server.connect("/echo")
    leaving = server.connect("/abandoned")
    assert leaving.recv() == "ready"
    leaving.close()
    for client in (before, server.connect("/echo")):
        client.settimeout(5)
        client.send("still there")
        assert client.recv() == "still there"


def test_a_report_that_fails_closes_a_class_view_all_the_same(server):
    with wire.connect(server.port, "/class") as connection:
        connection.sendall(wire.frame(1, b"x"))
        assert wire.read_frame(connection) == (0x88, b"\x03\xf3internal error")
        assert wait_for(lambda: ends(server), 3) == [1011]


SPAWN = {
    "gevent": "from gevent import monkey, spawn_raw; monkey.patch_all()\nspawn = spawn_raw\n",
    "eventlet": "import eventlet; eventlet.monkey_patch()\nspawn = eventlet.spawn_n\n",
}


@pytest.mark.parametrize("library", SPAWN)
def test_publish_ends_no_handler_whose_time_is_over(library):
    """It is a greenlet, for which the interpreter does not wait; but a thread of the application's."""
    done = run_to_the_end(
        SPAWN[library]
        + """
import threading, time
from flask import Flask
from flask_websockets import WebSockets
app = Flask(__name__)
websockets = WebSockets(app)
websockets.publish("news", "channel")
runtime = app.extensions["flask_websockets.runtime"]
runtime.shutting_down, runtime.end_deadline = True, 0.0
went_on = []
def handler(name):
    websockets.publish("news", "channel")
    went_on.append(name)
spawn(handler, "a greenlet")
thread = threading.Thread(target=handler, args=("a thread",))
thread.start()
thread.join()
time.sleep(0.01)
print(went_on)
"""
    )
    assert done.stdout == "['a greenlet']\n" and "Traceback" not in done.stderr
