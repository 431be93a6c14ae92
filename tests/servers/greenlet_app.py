"""What only handlers that are greenlets can do; GREEN says whose."""

import os
import threading

import flask
from greenlet import getcurrent

from flask_websockets import ConnectionClosed, WebSockets, WebSocketView

if os.environ["GREEN"] == "gevent":
    from gevent import Timeout, sleep, spawn
    from gevent import spawn_raw as spawn_bare
    from gevent.monkey import get_original

    def join(greenlet):
        return greenlet.get()

    def kill(greenlet):
        greenlet.kill()

else:
    from eventlet import Timeout, sleep, spawn
    from eventlet import spawn_n as spawn_bare
    from eventlet.patcher import original

    def get_original(module, name):
        return getattr(original(module), name)

    def join(greenlet):
        return greenlet.wait()

    def kill(greenlet):
        greenlet.kill()


app = flask.Flask(__name__)
app.config["WEBSOCKETS_PING_TIMEOUT"] = 0.5
app.config["WEBSOCKETS_PING_INTERVAL"] = 0
app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 32 << 20
websockets = WebSockets(app)


@app.get("/")
def page():
    return "a page"


@websockets.route("/interrupted")
def interrupted(ws):
    """An exception that is thrown into a waiting receive() loses nothing."""
    for _ in range(3):
        try:
            with Timeout(0.05):
                ws.receive()
        except Timeout:
            ws.send("timed out")
    ws.send(ws.receive())


@websockets.route("/long")
def long(ws):
    """A long message becomes a str in pieces: others run between them, and what is thrown into it loses
    nothing."""
    ws.send("ready")
    sleep(1.5)  # it has come, and is only to be converted
    interrupted, data = 0, None
    while data is None:
        try:
            with Timeout(0.0001):
                data = ws.receive()
        except Timeout:
            interrupted += 1
    ws.send(f"{interrupted >= 8} {data == 'long' * len(data[::4])}")


@websockets.route("/several")
def several(ws):
    """Greenlets that receive from one websocket: each message goes to one of them."""
    got = []

    def take():
        try:
            while True:
                got.append(ws.receive())
        except ConnectionClosed:
            return

    greenlets = [spawn(take) for _ in range(5)]
    ws.send("ready")
    while len(got) < 100:
        sleep(0.01)
    for greenlet in greenlets:  # before the client knows, and sends more
        kill(greenlet)
    ws.send(",".join(sorted(got, key=int)))
    ws.send(ws.receive())


@websockets.route("/native")
def native(ws):
    """A thread of the system, beside the event loop, sends, receives and publishes."""
    start = get_original("_thread", "start_new_thread")
    with websockets.subscribe(ws, ["native"]):

        def thread():
            ws.send(f"native {threading.get_ident() > 0}")
            websockets.publish(f"published {ws.receive()}", ["native"])

        start(thread, ())
        while not ws.closed:
            sleep(0.05)


@websockets.route("/ping")
def ping(ws):
    try:
        ws.ping()
    except TimeoutError as error:
        ws.send(f"{error}")
    ws.send(ws.receive())


@websockets.route("/together")
def together(ws):
    """Two greenlets, one of which waits for room to send, and one for messages."""

    def flood():
        for _ in range(8):
            ws.send(b"x" * (1 << 20))
        return "sent"

    flooding = spawn(flood)
    ws.send(ws.receive())
    ws.send(join(flooding))


@websockets.route("/closed-by-another")
def closed_by_another(ws):
    """Greenlets that wait for a message when another one closes."""
    waiting = [spawn(end_of, ws, timeout) for timeout in (None, 30)]
    sleep(0.05)
    ws.close(4000, "ours")
    ENDS.extend(join(greenlet) for greenlet in waiting)


ENDS = []


def end_of(ws, timeout):
    try:
        return f"got {ws.receive(timeout)}"
    except ConnectionClosed as error:
        return error.code


@app.get("/ends")
def ends():
    return ENDS


@websockets.route("/where")
def where(ws):
    """In which greenlet it runs, and in which thread of the system."""
    ws.send(f"{getcurrent() in CALLS} {os.readlink('/proc/thread-self').endswith(f'/{os.getpid()}')}")


#: The greenlets in which the server has called the application.
CALLS = []
inner = app.wsgi_app


def note_call(environ, start_response):
    CALLS.append(getcurrent())
    return inner(environ, start_response)


app.wsgi_app = note_call


@websockets.route("/abandoned")
def abandoned(ws):
    """Greenlets that end with what receive() raises, which none catches."""
    spawn(ws.receive)
    spawn_bare(ws.receive)
    ws.send("ready")
    sleep(60)


@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)


@websockets.route("/class")
class View(WebSocketView):
    def on_message(self, ws, data):
        raise ValueError(data)

    def on_close(self, ws, code, reason):
        ENDS.append(code)


@flask.got_request_exception.connect_via(app)
def broken_report(*_args, **_options):
    raise RuntimeError("the report fails, too")
