"""The end of a process by signals, and what its threads are called while it lives."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import wire
from conftest import free_port, wait_for
from kinds import gunicorn, own
from processes import thread_names

from flask_websockets import _core

APP = """
import signal, sys, time, threading
from flask import Flask
from flask_websockets import WebSockets
BEFORE
app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)

@websockets.route("/sleep")
def sleep(ws):
    ws.send("asleep")
    time.sleep(60)

@websockets.route("/pool")
def pool(ws):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(time.sleep, 6)
        ws.send("asleep")
        done.result()

@websockets.route("/async-pool")
async def async_pool(ws):
    import asyncio
    await ws.send("asleep")
    await asyncio.to_thread(time.sleep, 6)

@websockets.route("/save")
async def save(ws):
    import asyncio
    await asyncio.to_thread(int)
    try:
        async for data in ws:
            await ws.send(data)
    finally:
        await asyncio.to_thread(print, "saved", flush=True)

@app.get("/")
def index():
    return "a page"

app.run(port=PORT)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_the_server_leaves_alone_says_goodbye(program, number):
    # Whoever runs the tests may ignore one of them, as nohup does, and that is left alone.
    before = f"signal.signal({int(number)}, signal.SIG_DFL)" if number != signal.SIGINT else ""
    server = program(APP.replace("BEFORE", before))
    client = server.connect("/echo")
    server.process.send_signal(number)
    assert client.recv_data() == (8, (1001).to_bytes(2, "big") + b"server shutting down")
    client.send((1001).to_bytes(2, "big"), 8)
    assert server.wait() == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("path", ["/pool", "/async-pool"])
def test_threads_of_a_pool_do_not_hold_up_the_goodbye(program, path):
    server = program(APP.replace("BEFORE", ""))
    client, busy = server.connect("/echo"), server.connect(path)
    assert busy.recv() == "asleep"
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert client.recv_data() == (8, (1001).to_bytes(2, "big") + b"server shutting down")
    assert time.monotonic() - begun < 3


def test_a_pool_can_be_used_until_the_handlers_have_ended(program):
    server = program(APP.replace("BEFORE", ""))
    client = server.connect("/save")
    client.send("still there")
    assert client.recv() == "still there"
    server.process.send_signal(signal.SIGTERM)
    client.recv_data()
    server.wait()
    assert "saved" in server.log
    assert "Traceback" not in server.log


def test_a_process_that_serves_nothing_ends_by_the_signal(program):
    server = program(APP.replace("BEFORE", ""))
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM


COMMAND = """
import multiprocessing, os, signal, sys, threading
signal.signal(signal.NUMBER, signal.SIG_DFL)  # as it is unless whoever runs this ignores it
from flask import Flask
from flask_websockets import WebSockets

app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)

def busy(ready):
    ready()
    sum(range(10**14))  # one function of C, which looks at no signal

def child():
    reading, writing = os.pipe()
    process = multiprocessing.get_context("fork").Process(
        target=busy, args=(lambda: os.write(writing, b"ready"),)
    )
    process.start()
    os.read(reading, 5)
    return process
"""

ALONE = """
busy(lambda: print("ready", flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_only_imports_the_application_ends_as_without_us(number):
    """At once, whatever it is doing: its main thread need not come to an instruction of Python."""
    source = COMMAND.replace("NUMBER", number.name) + ALONE
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            assert process.wait(20) == -number
        finally:
            process.kill()


SERVING = """
@app.get("/child")
def ended():
    process = child()
    process.terminate()
    process.join(20)
    code = process.exitcode
    process.kill()
    return str(code)

app.run(port=PORT)
"""


def test_a_child_of_a_server_that_serves_nothing_itself_ends_so_too(program):
    server = program(COMMAND.replace("NUMBER", "SIGTERM") + SERVING)
    client = server.connect("/echo")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/child", timeout=30) as answer:
        assert answer.read() == b"-15"
    client.send("still there")
    assert client.recv() == "still there"
    server.process.send_signal(signal.SIGTERM)  # and the server still says goodbye
    assert client.recv_data() == (8, (1001).to_bytes(2, "big") + b"server shutting down")
    client.send((1001).to_bytes(2, "big"), 8)
    assert server.wait() == 0


@pytest.mark.parametrize("number", [0, 99, signal.SIGKILL, signal.SIGUSR2])
def test_only_a_signal_with_a_handler_is_guarded(number):
    with pytest.raises(ValueError, match=f"no Python function handles the signal {int(number)}"):
        _core.guard_signal(number)


def test_a_second_one_ends_at_once(program):
    server = program(APP.replace("BEFORE", ""))
    client = server.connect("/sleep")
    assert client.recv() == "asleep"
    server.process.send_signal(signal.SIGTERM)
    client.recv_data()
    time.sleep(0.2)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert time.monotonic() - begun < 2


def test_handlers_of_the_application_stay(program):
    before = "signal.signal(signal.SIGTERM, lambda *_: print('its own', flush=True))"
    server = program(APP.replace("BEFORE", before))
    client = server.connect("/echo")
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "its own" in server.log)
    client.send("still there")
    assert client.recv() == "still there"


def test_threads_have_names(serve):
    server = serve(gunicorn("sync"))
    pid = int(server.page("GET", "/pid").text)
    client = server.connect("/echo")
    assert server.connect("/name").recv() == "ws /name 127.0.0.1"
    assert "ws /echo 127.0." in thread_names(pid)  # the kernel keeps 15 bytes
    assert "fws-engine" in thread_names(pid)
    client.close()
    wait_for(lambda: "ws /echo 127.0." not in thread_names(pid))


def test_threads_of_handlers_that_have_ended_go_in_the_end(serve):
    server = serve(gunicorn("sync"))
    pid = int(server.page("GET", "/pid").text)
    clients = [server.connect("/echo") for _ in range(50)]
    assert len(thread_names(pid)) >= 50
    for client in clients:
        client.close()
        client.shutdown()
    wait_for(lambda: len(thread_names(pid)) <= 40, what="those that are too many")
    wait_for(lambda: len(thread_names(pid)) <= 3, 20, "those that were idle for long")


def test_tls_connections_share_one_thread(serve):
    server = serve(own("werkzeug-tls", tls=True))
    clients = [server.connect("/echo") for _ in range(10)]
    assert thread_names(server.process.pid).count("fws-tls") == 1
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", [own("werkzeug"), own("werkzeug-tls", tls=True)], ids=str)
def test_a_forked_child_has_no_connections(serve, kind):
    server = serve(kind)
    server.connect("/echo")
    before = int(server.page("GET", "/fork").text)
    clients = [server.connect("/echo") for _ in range(10)]
    # Once the server has closed what it had of the last handshake.
    wait_for(lambda: int(server.page("GET", "/fork").text) <= before)
    for client in clients:
        client.send("still the parent's")
        assert client.recv() == "still the parent's"


PUBLISHING = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from flask import Flask
from flask_websockets import WebSockets, WebSocketView

app = Flask(__name__)
app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = SECONDS
websockets = WebSockets(app)
pool = ThreadPoolExecutor(1)

def note(what):
    print(f"<{what}>", flush=True)

@websockets.route("/function")
def function(ws):
    try:
        with websockets.subscribe(ws, "room"):
            ws.send("hello")
            ws.receive()
    finally:
        websockets.publish("has left", "room")
        note("function")

@websockets.route("/async")
async def coroutine(ws):
    try:
        with websockets.subscribe(ws, "room"):
            await ws.send("hello")
            await ws.receive()
    finally:
        websockets.publish("has left", "room")
        note("async")

@websockets.route("/class")
class View(WebSocketView):
    def on_open(self, ws):
        websockets.subscribe(ws, "room")
        ws.send("hello")

    def on_message(self, ws, data):
        pass

    def on_close(self, ws, code, reason):
        websockets.publish("has left", "room")
        note("class")

def job(name):
    for step in range(10):
        time.sleep(0.1)
        websockets.publish(f"step {step}", "room")
    note(name)

def clock():
    try:
        while True:
            websockets.publish("tick", "room")
            time.sleep(0.05)
    finally:
        note("clock")

@app.get("/job")
def start():
    threading.Thread(target=job, args=("thread",)).start()
    pool.submit(job, "pool")
    return "started"

threading.Thread(target=clock).start()
app.run(port=PORT)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_publish_ends_nobody_who_has_time_left(program, number):
    """Handlers' cleanup, and jobs that the interpreter waits for, publish to their end; a clock that
    has none publishes until WEBSOCKETS_CLOSE_TIMEOUT is over, and the process can end then."""
    server = program(PUBLISHING.replace("SECONDS", "3"))
    clients = [server.connect(path) for path in ("/function", "/async", "/class")]
    assert all(client.recv() in ("hello", "tick") for client in clients)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/job", timeout=10) as answer:
        assert answer.read() == b"started"
    begun = time.monotonic()
    server.process.send_signal(number)
    server.wait()
    assert time.monotonic() - begun >= 3  # until then the clock had time as well
    for what in ("function", "async", "class", "thread", "pool", "clock"):
        assert server.log.count(f"<{what}>") == 1, (what, server.log)
    assert "Traceback" not in server.log


def test_a_second_ctrl_c_does_not_wait_for_a_clock(program):
    server = program(PUBLISHING.replace("SECONDS", "60"))
    client = server.connect("/function")
    server.interrupt()
    while client.recv_data()[0] != 8:
        pass
    time.sleep(0.3)
    begun = time.monotonic()
    server.interrupt()
    server.wait()
    assert time.monotonic() - begun < 2


INTERRUPTED = """
import threading, time
from flask import Flask
from flask_websockets import WebSockets

app = Flask(__name__)
app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 60
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws):
    ws.send("hello")
    for data in ws.iter_data():
        ws.send(data)

@websockets.route("/sleep")
def sleep(ws):
    ws.send("hello")
    time.sleep(60)

@websockets.route("/thread")
def thread(ws):
    threading.Thread(target=time.sleep, args=(60,), daemon=False).start()
    ws.send("hello")
    ws.receive()

if __name__ == "__main__":
    app.run(port=PORT)
"""


@pytest.mark.parametrize("path", ["/echo", "/sleep", "/thread"])
@pytest.mark.parametrize("how", ["werkzeug", "gunicorn", "gunicorn -k gevent"])
def test_a_second_ctrl_c_waits_for_nothing(program, how, path):
    """Not for a peer that answers no close, a handler that sleeps, or a thread of the application's."""
    if path == "/thread" and how != "werkzeug":
        pytest.skip("the same for all: it is the interpreter that waits")
    port = free_port()
    command = None
    if how.startswith("gunicorn"):
        bind = ["-b", f"127.0.0.1:{port}", "--no-control-socket"]
        command = [sys.executable, "-m", *how.split(), *bind, "app:app"]
    server = program(INTERRUPTED, port, command)
    with wire.connect(server.port, path) as connection:
        assert wire.read_frame(connection) == (0x81, b"hello")
        server.interrupt()
        assert wire.read_close(connection)[0] == 1001  # and the client does not answer
        time.sleep(0.5)
        # The master of gunicorn sends its workers a second signal by itself.
        assert how != "werkzeug" or server.process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            server.interrupt()
        server.wait(20)
    # gunicorn ends by exceptions that its own signal handlers raise, wherever they come.
    assert how != "werkzeug" or path == "/thread" or "Traceback" not in server.log
