"""Python code that the garbage collector or a signal handler runs in the middle of the code of this
package, in the same thread, and that calls the public API: nothing deadlocks, and the counts stay
right."""

from __future__ import annotations

import pytest
from conftest import run_to_the_end

#: A server with websockets that come and go, and code that calls whatever may be called anywhere. A
#: program that hangs says where, and fails.
PROLOGUE = """
import faulthandler, gc, logging, random, signal, socket, sys, threading, time
faulthandler.dump_traceback_later(40, exit=True)
import wire
from flask import Flask
from werkzeug.serving import make_server
from flask_websockets import WebSockets, WebSocketView, ConnectionClosed

logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
SECONDS = 2.0
app = Flask(__name__)
app.config.update(WEBSOCKETS_MAX_CONNECTIONS=50, WEBSOCKETS_HANDLER_THREADS=20)
websockets = WebSockets(app)
runtime = app.extensions["flask_websockets.runtime"]
lasting = []
calls = 0
app.errors = []
app.log_exception = lambda info: app.errors.append(info[1])

@websockets.route("/class")
class Class(WebSocketView):
    def on_open(self, ws):
        ws.data["opened"] = ws.id
        websockets.subscribe(ws, "c")  # accepts, and raises when close_all() comes at that moment

    def on_message(self, ws, data):
        if data == "last":
            lasting.append(ws)
        ws.send(data)

    def on_close(self, ws, code, reason):
        assert ws.data["opened"] == ws.id
        if ws in lasting:
            lasting.remove(ws)

@websockets.route("/function")
def function(ws):
    websockets.subscribe(ws, "c")
    for data in ws.iter_data():
        ws.send(data)

@websockets.route("/async")
async def asynchronous(ws):
    await ws.send("hello")
    async for data in ws:
        await ws.send(data)

def call_everything():
    global calls
    calls += 1
    websockets.publish("x", "c")
    websockets.stats()
    for ws in websockets.connections:
        repr(ws), ws.id, ws.channels, ws.state, ws.close_code
        ws.data["called"] = calls
    for ws in lasting[:]:
        try:
            ws.send("y")
            websockets.subscribe(ws, ["c", "d"])
            websockets.unsubscribe(ws, "d")
        except ConnectionClosed:
            pass
    if calls % 50 == 0:
        websockets.close_all(4000, "maintenance")

class Gone:
    def __init__(self):
        self.me = self

    def __del__(self):
        call_everything()

def visit(path):
    \"\"\"One client that comes and goes; refused ones are fine.\"\"\"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(wire.request(port, path))
        if " 101 " in wire.read_head(connection):
            connection.sendall(wire.frame(1, b"last"))
            connection.recv(100)

def visit_often():
    count = 0
    while time.monotonic() < end:
        visit(random.choice(["/class", "/function", "/async"]))
        count += 1
    visits.append(count)

def check(threads):
    for thread in threads:
        thread.join()
    assert min(visits) > 0 and calls > 20, (visits, calls)
    deadline = time.monotonic() + 10
    while (runtime._handlers or runtime._open) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (runtime._handlers, runtime._open) == (0, {})
    assert runtime._websocket_quota.total == 0
    assert not app.errors, app.errors
    print("done", calls, visits)

visits = []
end = time.monotonic() + SECONDS
server = make_server("127.0.0.1", 0, app, threaded=THREADED)
port = server.port
"""

SERVE_IN_THREADS = """
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
clients = [threading.Thread(target=visit_often) for _ in range(4)]
for client in clients:
    client.start()
"""

#: Until Python 3.11 the collector runs in an allocation, since then between two bytecodes.
COLLECTOR_AT_EVERY_ALLOCATION = """
def collect_often():
    while time.monotonic() < end:
        Gone()
        time.sleep(0.002)
threading.Thread(target=collect_often, daemon=True).start()
gc.set_threshold(1, 1, 1)
"""

MANY_CALLS = """
while time.monotonic() < end:
    Gone()
    call_everything()
"""

SIGNALS = """
def on_alarm(*_):
    call_everything()
    if time.monotonic() < end:
        signal.setitimer(signal.ITIMER_REAL, random.random() / 500)
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001)
"""

#: As in a sync worker: handshakes are in the main thread, where the signal handlers run.
SERVE_HERE = """
server.timeout = 0.05
clients = [threading.Thread(target=visit_often) for _ in range(2)]
for client in clients:
    client.start()
while any(client.is_alive() for client in clients):
    server.handle_request()
"""


def run(program: str, threaded: bool = True) -> None:
    done = run_to_the_end(f"THREADED = {threaded}\n" + program)
    assert "Exception ignored" not in done.stderr, done.stderr[-3000:]
    assert done.stdout.startswith("done")


def test_the_collector_runs_a_del_in_any_allocation():
    run(PROLOGUE + SERVE_IN_THREADS + COLLECTOR_AT_EVERY_ALLOCATION + "check(clients)")


def test_the_collector_runs_a_del_while_the_main_thread_calls_everything():
    run(PROLOGUE + SERVE_IN_THREADS + MANY_CALLS + "check(clients)")


def test_a_signal_handler_interrupts_the_main_thread_that_calls_everything():
    run(PROLOGUE + SERVE_IN_THREADS + SIGNALS + MANY_CALLS + "check(clients)")


def test_a_signal_handler_interrupts_handshakes():
    run(PROLOGUE + SIGNALS + SERVE_HERE + "check(clients)", threaded=False)


# ---- what is made at the first use ----

FIRST_USE = """
import faulthandler, gc, threading
faulthandler.dump_traceback_later(30, exit=True)
from flask import Flask
from flask_websockets import WebSocket, WebSockets
from flask_websockets.handlers.asynchronous import event_loop
from flask_websockets.tls.relay import relay

def at_once(function):
    barrier, results = threading.Barrier(8), []
    def run():
        barrier.wait()
        results.append(function())
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return results

sys.setswitchinterval(1e-6)
for _ in range(20):
    app = Flask("x")
    WebSockets(app)
    runtime = app.extensions["flask_websockets.runtime"]
    assert len({id(engine) for engine in at_once(lambda: runtime.engine)}) == 1
    ws = WebSocket(None, None, None)
    assert len(set(at_once(lambda: ws.id))) == 1
    assert len({id(data) for data in at_once(lambda: ws.data)}) == 1
before = threading.active_count()
assert len({id(loop) for loop in at_once(event_loop)}) == 1
assert threading.active_count() == before + 1
assert len({id(one) for one in at_once(relay)}) == 1
print("done")
"""


def test_what_is_made_at_the_first_use_is_made_once():
    run(FIRST_USE)


IN_ITS_OWN_MAKING = """
import faulthandler, gc, sys
faulthandler.dump_traceback_later(30, exit=True)
from flask_websockets import WebSocket

found = []

class Gone:
    def __init__(self, ws):
        self.me, self.ws = self, ws

    def __del__(self):
        found.append((self.ws.data, self.ws.id))

gc.disable()
others = [WebSocket(None, None, None) for _ in range(200)]
for ws in others:
    Gone(ws)
gc.set_threshold(1, 1, 1)
gc.enable()
for ws in others:
    ws.data["mine"] = ws.id
gc.collect()
assert len(found) == 200
for ws in others:
    assert (ws.data, ws.id) in found and ws.data == {"mine": ws.id}
print("done")
"""


def test_a_dict_that_is_asked_for_while_it_is_made_is_one():
    run(IN_ITS_OWN_MAKING)


def test_data_that_refers_to_its_websocket_is_collected():
    run("""
import gc, weakref
from flask_websockets import WebSocket
ws = WebSocket(None, None, None)
ws.data["self"] = ws
gone = weakref.ref(ws)
del ws
gc.collect()
assert gone() is None
print("done")
""")


@pytest.mark.parametrize("use", ["ws.send('x')", "ws.close()", "ws.accept()", "ws.receive(0)"])
def test_a_handshake_that_is_interrupted_is_answered_once(application, use):
    """By code that uses the same websocket, from inside its accept()."""
    heard = []

    class Interrupting(str):
        def lower(self):  # called while the headers of the answer are checked
            try:
                eval(use, {"ws": sockets[0]})
            except RuntimeError as error:
                heard.append(str(error))
            return str.lower(self)

    sockets = []

    @application.route("/ws")
    def ws_(ws):
        sockets.append(ws)
        ws.accept(headers={Interrupting("X-Own"): "1"})
        ws.send("accepted")

    assert application.serve().connect("/ws").recv() == "accepted"
    assert heard and set(heard) == {
        "the handshake is being answered by the code that was interrupted, or has called this"
    }
