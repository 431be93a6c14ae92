"""The application that every server has to serve alike."""

from __future__ import annotations

import io
import logging
import os
import sys
import time

import flask

from flask_websockets import WebSockets, WebSocketView

app = flask.Flask(__name__)
app.secret_key = "not a secret"
app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 2
app.config["WEBSOCKETS_SEND_BUFFER"] = 256 * 1024
app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 2 * 1024 * 1024
websockets = WebSockets(app)


class ReplacesInput:
    """A middleware like those that limit or record the request's body."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        if "HTTP_X_REPLACE_INPUT" in environ:
            environ["wsgi.input"] = io.BytesIO()
        return self.wsgi_app(environ, start_response)


class WatchesAnswers:
    """A middleware like those that count the answers by their status."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        if "HTTP_X_WATCH_ANSWER" not in environ:
            return self.wsgi_app(environ, start_response)
        return self.wsgi_app(environ, lambda *answer: start_response(*answer))


class Proxy:
    """As wrapt's, which monitoring agents use."""

    def __init__(self, wrapped):
        object.__setattr__(self, "__wrapped__", wrapped)

    __class__ = property(lambda self: self.__wrapped__.__class__)

    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)

    def __call__(self, *arguments):
        statuses.append(arguments[0])
        return self.__wrapped__(*arguments)


class ReadsAlong:
    """An input that counts what is read, as that of New Relic's agent."""

    def __init__(self, stream):
        self.__stream = stream

    def read(self, *arguments):
        return self.__stream.read(*arguments)


class Agent:
    """A middleware that puts proxies around the server's objects."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        if "HTTP_X_AGENT" in environ:
            environ["wsgi.input"] = ReadsAlong(environ["wsgi.input"])
            for key in {"werkzeug.socket", "gunicorn.socket"} & set(environ):
                environ[key] = Proxy(environ[key])
            start_response = Proxy(start_response)
        return self.wsgi_app(environ, start_response)


class Ends(logging.Handler):
    """Keeps the records of connections' ends, for the page that shows them."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        if not hasattr(record, "messages_in"):
            return
        self.records.append(record)
        if record.code == 1001:  # the server stops, and with it the page
            print(record.getMessage(), file=sys.stderr, flush=True)


ends = Ends()
logging.getLogger("flask_websockets").addHandler(ends)
logging.getLogger("flask_websockets").setLevel(logging.INFO)

#: What proxies of ``start_response`` were given.
statuses = []
app.wsgi_app = Agent(WatchesAnswers(ReplacesInput(app.wsgi_app)))


@app.before_request
def refuse():
    if flask.request.headers.get("X-Refuse"):
        flask.abort(403, "refused before the request")
    if "visit" in flask.request.args:
        flask.session["visit"] = flask.request.args["visit"]


@app.after_request
def after(response):
    response.headers["X-After"] = f"{flask.request.path} {response.status_code}"
    return response


@app.get("/visit")
def visit():
    return flask.session.get("visit", "none")


@app.get("/")
def page():
    return "a page"


@app.get("/statuses")
def seen_by_the_agent():
    return " ".join(status[:3] for status in statuses)


@app.get("/ends/<user>")
def ends_of(user):
    """What was recorded of the ends of a user's connections."""
    fields = ("code", "side", "reason", "route", "messages_in", "messages_out")
    return [[getattr(end, name) for name in fields] for end in ends.records if end.user == user]


@app.get("/stats")
def stats():
    return websockets.stats()


@app.get("/pid")
def pid():
    return str(os.getpid())


@app.get("/fork")
def fork():
    """How many descriptors a child has that is forked now."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, str(len(os.listdir("/proc/self/fd"))).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        number = answer.read()
    os.wait()
    return number


@app.post("/publish/<name>")
def publish(name):
    return str(websockets.publish(flask.request.get_data(as_text=True), [name]))


@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)


@websockets.route("/channel/<name>")
def channel(ws, name):
    ws.user = name
    with websockets.subscribe(ws, [name]):
        ws.send("subscribed")
        for data in ws.iter_data():
            websockets.publish(data, [name])


@websockets.route("/class/<name>")
class View(WebSocketView):
    """What a message says is done; the rest is sent back."""

    def on_open(self, ws, name):
        self.name = ws.user = name
        if name == "refused":
            flask.abort(401)
        websockets.subscribe(ws, f"class-{name}")

    def on_message(self, ws, data):
        if data == "where":
            ws.send(f"{self.name} {flask.request.path} {flask.g.get('seen')}")
            flask.g.seen = "before"
        elif data == "sleep":
            time.sleep(0.5)
            ws.send("slept")
        elif data == "bug":
            raise KeyError("a bug in on_message")
        elif data == "flood":
            for number in range(16):
                ws.send(bytes([number]) * (1 << 20))
        else:
            ws.send(data)

    def on_close(self, ws, code, reason):
        websockets.publish(f"{code} {reason}", [f"ends-{self.name}"])


@websockets.route("/async/<name>")
async def asynchronous(ws, name):
    ws.user = name
    if name == "refused":
        flask.abort(401)
    async for data in ws:
        await ws.send(f"{name} {flask.request.path} {data}" if isinstance(data, str) else data)


@websockets.route("/401")
def unauthorized(ws):
    flask.abort(401)


@websockets.route("/redirect")
def redirect(ws):
    return flask.redirect("/login")


@websockets.route("/session")
def session(ws):
    flask.session["visits"] = 1
    flask.abort(403)


@websockets.route("/bug")
def bug(ws):
    ws.send("before")
    raise KeyError("a bug in the handler")


@websockets.route("/early-bug")
def early_bug(ws):
    raise KeyError("a bug before the handshake")


@websockets.route("/data")
def data(ws):
    ws.send(f"{flask.request.data!r} {flask.request.form!r}")


@websockets.route("/timeout")
def timeout(ws):
    begun = time.monotonic()
    got = ws.receive(timeout=0.1)
    ws.send(f"{got} {time.monotonic() - begun >= 0.1}")
    ws.send(f"{ws.receive(timeout=10)}")


@websockets.route("/ping")
def ping(ws):
    ws.send(f"{0 < ws.ping() < 10}")


@websockets.route("/flood")
def flood(ws):
    for number in range(16):
        ws.send(bytes([number]) * (1 << 20))


@websockets.route("/json")
def json(ws):
    try:
        ws.receive_json()
    except ValueError as error:
        ws.send(type(error).__name__)


@websockets.route("/name")
def name(ws):
    import threading

    ws.send(threading.current_thread().name)


@websockets.route("/sleep")
def sleep(ws):
    ws.send("asleep")
    time.sleep(60)


@websockets.route("/busy/<name>")
def busy(ws, name):
    ws.send("busy")
    while True:
        websockets.publish("tick", [name])
        time.sleep(0.01)
