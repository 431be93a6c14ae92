"""An exception that another thread raises in the thread of a handler (PyThreadState_SetAsyncExc, by
which time-outs are made) may come at any place, also when the handler has just ended: what was counted
is counted out, no descriptor stays open, and the thread runs the next handler."""

from __future__ import annotations

from conftest import run_to_the_end

PROGRAM = """
import ctypes, faulthandler, gc, logging, os, socket, sys, threading, time
faulthandler.dump_traceback_later(50, exit=True)
import wire
from flask import Flask
from werkzeug.serving import make_server
from flask_websockets import WebSockets
from flask_websockets.handlers.threads import THREADS

logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
logging.raiseExceptions = False
app = Flask(__name__)
app.logger.setLevel(logging.CRITICAL + 1)
websockets = WebSockets(app)
runtime = app.extensions["flask_websockets"]
handlers, thrown, reported = set(), 0, 0

class Thrown(Exception):
    pass

def report(arguments):
    global reported
    assert arguments.exc_type is Thrown, arguments
    reported += 1

threading.excepthook = report

@websockets.route("/ws")
def echo(ws):
    ident = threading.get_ident()
    try:
        for data in ws.iter_data():
            handlers.add(ident)
            ws.send(data)
    finally:
        handlers.discard(ident)

server = make_server("127.0.0.1", 0, app, threaded=True)
server.daemon_threads = True
server.handle_error = lambda request, address: None
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

def visit():
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(wire.request(server.port, "/ws"))
        if " 101 " in wire.read_head(connection):
            connection.sendall(wire.frame(1, b"hello"))
            connection.recv(100)
            connection.sendall(wire.frame(1, b"hello"))
            return connection.recv(100)

def visit_often():
    while time.monotonic() < end:
        try:
            visit()
        except (OSError, AssertionError):  # its handler was hit
            pass

def throw():
    global thrown
    while time.monotonic() < end:
        time.sleep(0.001)
        for ident in list(handlers)[:1]:
            thrown += ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(ident), ctypes.py_object(Thrown)
            )

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def settled():
    # How many there are once the last connection has given back its own.
    counts = []
    while runtime._open or len(counts) < 20 or len(set(counts[-20:])) > 1:
        time.sleep(0.05)
        counts.append(descriptors())
    return counts[-1]

visit()
files = settled()
end = time.monotonic() + 3
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=function) for function in [visit_often] * 4 + [throw]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.setswitchinterval(0.005)
assert thrown > 50, thrown
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    gc.collect()
    left = runtime._handlers, runtime._open, descriptors() - files
    if left == (0, {}, 0):
        break
    time.sleep(0.05)
assert left == (0, {}, 0), (left, thrown, reported)
for _ in range(2 * len(THREADS.idle) + 5):
    assert visit() == b"\\x81\\x05hello"
print("done", thrown, reported)
os._exit(0)
"""


def test_exceptions_from_another_thread_leave_nothing_counted():
    assert run_to_the_end(PROGRAM, timeout=60).stdout.startswith("done")
