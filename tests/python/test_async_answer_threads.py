"""Where an async view's handshake is answered, and what of its request ends where."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import threading
import time

import flask
import pytest
import wire
from conftest import wait_for

PROGRAM = """
import asyncio, flask
from flask_websockets import WebSockets
app = flask.Flask("stopped")
app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 4
websockets = WebSockets(app)
@websockets.route("/ws")
async def view(ws):
    print("begun", flush=True)
    try:
        await asyncio.sleep(0.5)
    finally:
        print("tidied up", flush=True)
app.run(port=PORT)
"""


def ask(port, path):
    """A connection whose handshake is not answered yet."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(wire.request(port, path))
    return connection


def answer_to(port, path):
    """The whole answer to a handshake that is refused."""
    answer = b""
    with ask(port, path) as connection:
        while more := connection.recv(65536):
            answer += more
    return answer


@pytest.fixture
def bound(application):
    """What before_request opens may be used by no other thread; an after_request function uses it."""
    app = application.app
    app.secret_key = "secret"
    application.threads, application.errors = [], []

    @app.before_request
    def before():
        flask.g.database = sqlite3.connect(":memory:")
        flask.session["user"] = "ann"

    @app.after_request
    def after(response):
        application.threads.append(threading.current_thread().name)
        flask.g.database.execute("SELECT 1")
        if "fails" in flask.request.args and response.status_code == 101:
            raise LookupError("in after_request")
        return response

    @app.teardown_appcontext
    def teardown(error):
        application.errors.append(type(error).__name__)
        database = flask.g.pop("database", None)
        if database is not None:
            database.close()

    return application


async def accept(application, ws):
    ws.accept(headers={"X-Accept": "1"})


async def accept_on_a_thread(application, ws):
    await asyncio.to_thread(ws.accept)


async def subscribe(application, ws):
    application.websockets.subscribe(ws, "news")


async def nothing(application, ws):
    pass


USES = (accept, accept_on_a_thread, subscribe, nothing)


@pytest.mark.parametrize("use", USES)
def test_the_server_s_thread_answers_whoever_accepts(bound, use):
    @bound.route("/ws")
    async def view(ws):
        await use(bound, ws)

    with wire.connect(bound.serve().port, "/ws") as connection:
        assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
    assert len(bound.threads) == 1 and "asyncio" not in bound.threads[0]
    wait_for(lambda: bound.errors == ["NoneType", "NoneType"])


@pytest.mark.parametrize("use", USES[:3])
def test_what_after_request_raises_is_for_who_accepts(bound, use):
    raised = []

    @bound.route("/ws")
    async def view(ws):
        try:
            await use(bound, ws)
        except LookupError as error:
            raised.append(str(error))
        return "refused", 409

    answer = answer_to(bound.serve().port, "/ws?fails=1")
    assert answer.startswith(b"HTTP/1.1 409 ") and answer.endswith(b"refused")
    assert raised == ["in after_request"]


def test_a_subprotocol_that_was_not_offered_is_for_who_accepts(bound):
    raised = []

    @bound.route("/ws")
    async def view(ws):
        try:
            ws.accept(subprotocol="chat")
        except ValueError as error:
            raised.append(str(error))
        ws.accept()
        await ws.send("accepted")

    client = bound.serve().connect("/ws")
    assert client.recv() == "accepted" and len(raised) == 1


@pytest.mark.parametrize("end", ["return", "raise"])
def test_a_handler_that_ends_while_after_request_runs_holds_up_no_other(application, end):
    inside, ends, release = threading.Event(), threading.Event(), threading.Event()

    @application.app.after_request
    def after(response):
        if flask.request.path == "/slow":
            inside.set()
            release.wait(10)
        return response

    @application.route("/echo")
    async def echo(ws):
        async for data in ws:
            await ws.send(data)

    @application.route("/slow")
    async def slow(ws):
        task = asyncio.ensure_future(ws.send("hello"))
        while not inside.is_set():
            await asyncio.sleep(0.01)
        ends.set()
        if end == "raise":
            task.cancel()
            raise ValueError("while it is answered")

    client = application.serve().connect("/echo")
    with ask(application.server.port, "/slow") as connection:
        assert ends.wait(10)
        time.sleep(0.1)
        client.send("meanwhile")
        assert client.recv() == "meanwhile"
        release.set()
        assert connection.recv(12) == b"HTTP/1.1 101"


def test_nothing_is_said_of_the_session_of_a_refusal(bound, caplog):
    """It goes out with it."""

    @bound.route("/ws")
    async def view(ws):
        flask.after_this_request(lambda response: response)
        return "refused", 409

    answer = answer_to(bound.serve().port, "/ws")
    assert answer.startswith(b"HTTP/1.1 409 ") and b"Set-Cookie: session=" in answer
    wait_for(lambda: len(bound.errors) == 2)
    assert not caplog.records


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_teardown_functions_are_given_what_came_before_the_answer(bound, error):
    """Or else they would commit what the coroutine had begun."""

    @bound.route("/ws")
    async def view(ws):
        raise error

    assert answer_to(bound.serve().port, "/ws").startswith(b"HTTP/1.1 500 ")
    wait_for(lambda: bound.errors == [error.__name__] * 2)


@pytest.mark.parametrize("fails", [False, True])
def test_functions_of_flask_that_are_coroutine_functions(application, fails, caplog):
    """Those of teardown_appcontext are awaited in the event loop: there what they close was opened."""
    pytest.importorskip("asgiref")
    app, loops = application.app, []

    @app.before_request
    async def before():
        await asyncio.sleep(0)

    @app.after_request
    async def after(response):
        await asyncio.sleep(0)
        response.headers["X-After"] = "1"
        return response

    @app.teardown_appcontext
    async def teardown(error):
        if "loop" in flask.g:
            await asyncio.sleep(0.01)
            loops.append((asyncio.get_running_loop() is flask.g.loop, type(error).__name__))

    @application.route("/ws")
    async def view(ws):
        flask.g.loop = asyncio.get_running_loop()
        application.websockets.subscribe(ws, "news")
        await ws.receive()
        if fails:
            raise ValueError

    client = application.serve().connect("/ws")
    assert client.headers["x-after"] == "1"
    client.send("x")
    wait_for(lambda: loops == [(True, "ValueError" if fails else "NoneType")])
    assert len([record for record in caplog.records if record.exc_info]) == fails


def test_the_server_stops_before_the_answer(program):
    """The client gets 503, and the handler is waited for, as that of any other view."""
    server = program(PROGRAM)
    with ask(server.port, "/ws") as connection:
        wait_for(lambda: "begun" in server.log)
        server.process.send_signal(signal.SIGINT)
        assert connection.recv(12) == b"HTTP/1.1 503"
        server.wait()
    assert "tidied up" in server.log
