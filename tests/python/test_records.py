"""One record for the end of each connection, in each kind of view, however it ends."""

from __future__ import annotations

import contextvars
import datetime
import logging
import socket
import struct
import threading
import time

import flask
import pytest
import wire
from conftest import wait_for
from test_views import add_view, ask
from werkzeug.local import LocalProxy

from flask_websockets import InvalidMessage, WebSocketView, records

KINDS = ["/function", "/class", "/async"]


class RefusesAll(logging.Filter):
    def filter(self, record):
        raise RuntimeError("a filter that fails")


@pytest.fixture
def log(caplog):
    """The records of connections' ends, as they come."""
    caplog.set_level(logging.INFO, "flask_websockets")

    def ends():
        return [record for record in caplog.records if hasattr(record, "messages_in")]

    return ends


@pytest.fixture
def views(application):
    """One view of each kind, at the paths of KINDS, that does what a message says."""
    application.app.config.update(WEBSOCKETS_CLOSE_TIMEOUT=0.5, WEBSOCKETS_MAX_MESSAGE_SIZE=100_000)
    websockets = application.websockets
    application.stays, application.may_end = threading.Event(), threading.Event()
    application.has_ended = threading.Event()

    def do(ws, data):
        """True: the handler is to return."""
        if data == "close":
            ws.close(4002, "enough")
        elif data == "bug":
            raise KeyError("a bug")
        elif data == "invalid":
            raise InvalidMessage("JSON", data)
        elif data == "subscribe":
            websockets.subscribe(ws, "news")
        elif data == "stay":
            application.stays.set()
            application.may_end.wait(20)
            application.has_ended.set()
        return data == "return"

    @application.route("/function")
    def function(ws):
        ws.user = flask.request.args.get("user")
        for data in ws.iter_data():
            if do(ws, data):
                return
            ws.send("done")

    @application.route("/class")
    class Class(WebSocketView):
        def on_open(self, ws):
            ws.user = flask.request.args.get("user")

        def on_message(self, ws, data):
            if do(ws, data):
                ws.close(1000)
            ws.send("done")

    @application.route("/async")
    async def coroutine(ws):
        ws.user = flask.request.args.get("user")
        ws.accept()
        async for data in ws:
            if do(ws, data):
                return
            await ws.send("done")

    yield application
    application.may_end.set()


def counted(application):
    return application.app.extensions["flask_websockets.runtime"]._websocket_quota.total


def one_end(application, log, connections=1):
    """The record of the only connection; there is no second one when all is over."""
    wait_for(lambda: log() and counted(application) == 0, what="the record")
    assert len(log()) == connections
    return log()[-1]


def command(connection, text):
    connection.sendall(wire.frame(1, text.encode()))


def vanish(connection, *_):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stop_reading(connection, application):
    """Until it is closed as a slow consumer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    command(connection, "subscribe")
    wire.read_frame(connection)
    deadline = time.monotonic() + 20
    while not application.websockets.stats()["closes"] and time.monotonic() < deadline:
        application.websockets.publish(b"x" * 1_000_000, "news")
        if application.websockets.stats()["slow_consumers"]:
            break
    connection.close()


#: How it ends: what is done, and what is recorded of it.
ENDS = {
    "the peer closes": (
        lambda c, _: c.sendall(wire.frame(8, b"\x0f\xa1bye")),
        ("peer", 4001, "bye"),
    ),
    "the peer closes without a code": (lambda c, _: c.sendall(wire.frame(8, b"")), ("peer", 1005, "")),
    "the peer goes away": (lambda c, _: c.close(), ("nobody", 1006, "")),
    "the peer vanishes": (vanish, ("nobody", 1006, "")),
    "the peer breaks the protocol": (
        lambda c, _: c.sendall(b"\x83\x80\0\0\0\0"),
        ("server", 1002, "reserved opcode"),
    ),
    "the peer sends too much": (
        lambda c, _: c.sendall(wire.frame(1, b"x" * 200_000)),
        ("server", 1009, "message too big"),
    ),
    "the handler closes": (lambda c, _: command(c, "close"), ("server", 4002, "enough")),
    "the handler returns": (lambda c, _: command(c, "return"), ("server", 1000, "")),
    "the handler raises": (lambda c, _: command(c, "bug"), ("server", 1011, "internal error")),
    "an invalid message": (lambda c, _: command(c, "invalid"), ("server", 1007, "invalid JSON")),
    "close_all": (
        lambda _, a: a.websockets.close_all(4003, "all of you"),
        ("server", 4003, "all of you"),
    ),
    "a slow consumer": (stop_reading, ("server", 1013, "slow consumer")),
    "the server stops": (
        lambda _, a: a.app.extensions["flask_websockets.runtime"].shut_down(),
        ("server", 1001, "server shutting down"),
    ),
}


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("end", ENDS)
def test_one_connection_gives_one_record(views, log, caplog, end, path):
    do, (side, code, reason) = ENDS[end]
    with wire.connect(views.serve().port, f"{path}?user=ann") as connection:
        command(connection, "hello")
        assert wire.read_frame(connection) == (0x81, b"done")
        assert not log()
        do(connection, views)
        record = one_end(views, log)
    assert (record.side, record.code) == (side, code)
    if code != 1002:  # whatever exactly is wrong
        assert record.reason == reason
    assert (record.name, record.levelno) == ("flask_websockets", logging.INFO)
    assert (record.route, record.address, record.user) == (path, "127.0.0.1", "ann")
    assert record.endpoint == {"/function": "function", "/class": "Class", "/async": "coroutine"}[path]
    assert record.messages_in >= 1 and record.messages_out >= 1
    assert 0 < record.seconds < 60 and len(record.websocket) == 32
    said = record.getMessage()
    assert f"WebSocket {path} of 127.0.0.1 (ann) closed by {side} with {code}" in said
    errors = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(errors) == (end == "the handler raises")
    assert views.websockets.stats()["routes"][path]["closes"] in ({}, {code: 1})


@pytest.mark.parametrize("path", KINDS)
def test_a_peer_that_answers_no_ping(views, log, path):
    views.app.config.update(WEBSOCKETS_PING_INTERVAL=0.2, WEBSOCKETS_PING_TIMEOUT=0.2)
    with wire.connect(views.serve().port, path):
        record = one_end(views, log)
    assert (record.side, record.code, record.reason) == ("server", 1011, "ping timeout")
    assert record.user is None and "(" not in record.getMessage()


@pytest.mark.parametrize("path", ["/function", "/class"])
def test_a_handler_that_outlasts_the_stop_is_recorded_once(views, log, path):
    server = views.serve()
    with wire.connect(server.port, path) as connection:
        command(connection, "stay")
        assert views.stays.wait(10)
        views.app.extensions["flask_websockets.runtime"].shut_down()
        assert [(record.code, record.side) for record in log()] == [(1001, "server")]
        views.may_end.set()
        assert views.has_ended.wait(10)
        if path == "/function":  # nobody calls the on_close of the other any more
            wait_for(lambda: counted(views) == 0)
    assert len(log()) == 1


def test_a_handshake_that_is_refused_gives_none(application, log):
    application.app.config["WEBSOCKETS_MAX_CONNECTIONS"] = 1

    @application.route("/aborts")
    def aborts(ws):
        flask.abort(401)

    @application.route("/fails")
    class Fails(WebSocketView):
        def on_open(self, ws):
            raise KeyError("before the handshake")

        def on_message(self, ws, data):
            pass

    @application.route("/async-answers")
    async def answers(ws):
        return "no", 418

    @application.route("/echo")
    def echo(ws):
        ws.receive()

    server = application.serve()
    for path, status in (("/aborts", 401), ("/fails", 500), ("/async-answers", 418)):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(wire.request(server.port, path))
            assert f" {status} " in wire.read_head(connection)
    with wire.connect(server.port, "/echo"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(wire.request(server.port, "/echo"))
            assert " 503 " in wire.read_head(connection)
        bad = "GET /echo HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade, close\n"
        assert server.request(bad + "Sec-WebSocket-Version: 7\n\n").startswith(b"HTTP/1.1 426")
    assert one_end(application, log).route == "/echo"
    routes = application.websockets.stats()["routes"]
    assert {name: (one["opens"], one["refusals"]) for name, one in routes.items()} == {
        "/aborts": (0, 1),
        "/fails": (0, 1),
        "/async-answers": (0, 1),
        "/echo": (1, 2),
    }


@pytest.mark.parametrize("kind", ["function", "class"])
def test_of_a_proxy_the_user_that_it_stands_for_is_kept(application, log, kind):
    who = contextvars.ContextVar("who")
    current_user = LocalProxy(who)

    @application.app.before_request
    def log_in():
        who.set(flask.request.args["user"])

    def opening(ws):
        ws.user = current_user
        with pytest.raises(RuntimeError, match="not bound"):
            ws.user = LocalProxy(contextvars.ContextVar("nobody"))

    add_view(application, kind, lambda ws, data: ws.user, opening)
    server = application.serve()
    clients = {name: server.connect(f"/ws?user={name}") for name in ("anne", "bob")}
    for _ in range(2):
        assert {name: ask(client) for name, client in clients.items()} == {"anne": "anne", "bob": "bob"}
    for client in clients.values():
        client.close()
    one_end(application, log, 2)
    assert {record.user for record in log()} == {"anne", "bob"}


def test_what_a_websocket_knows_of_itself(application):
    known = []

    @application.route("/room/<name>", endpoint="a-room")
    def room(ws, name):
        before = (ws.endpoint, ws.connected_at, ws.messages_in, ws.messages_out, ws.user)
        ws.accept()
        known.append((before, ws.connected_at, ws.connected_at))
        for data in ws.iter_data():
            ws.send(data)
            known.append((ws.messages_in, ws.messages_out))

    client = application.serve().connect("/room/a")
    for number in range(3):
        client.send("x")
        client.recv()
        wait_for(lambda: len(known) == 2 + number)  # noqa: B023
    (before, at, again), *counts = known
    assert before == ("a-room", None, 0, 0, None)
    assert at == again and at.tzinfo is datetime.timezone.utc
    assert abs((datetime.datetime.now(datetime.timezone.utc) - at).total_seconds()) < 30
    assert counts == [(1, 1), (2, 2), (3, 3)]
    application.websockets.close_all()


def test_nobody_can_write_lines_of_the_log(application, log):
    class User:
        def __str__(self):
            return "ann\nERROR an invention"

    @application.route("/ws")
    def view(ws):
        ws.user = User()
        ws.receive()

    with wire.connect(application.serve().port, "/ws") as connection:
        connection.sendall(wire.frame(8, b"\x03\xe8a\r\nERROR another\x1b[31m"))
        record = one_end(application, log)
    assert record.getMessage().isprintable()
    assert record.reason == "a\r\nERROR another\x1b[31m" and record.user == "ann\nERROR an invention"


def test_a_user_whose_str_fails_is_recorded_all_the_same(application, log):
    class Detached:
        def __str__(self):
            raise RuntimeError("the session is closed")

    @application.route("/ws")
    def view(ws):
        ws.user = Detached()
        ws.receive()

    application.serve().connect("/ws").close()
    assert one_end(application, log).user == "<Detached: its str() raised RuntimeError>"


@pytest.mark.parametrize("path", KINDS)
def test_a_filter_that_fails_leaves_nothing_counted(views, caplog, capfd, path):
    caplog.set_level(logging.INFO, "flask_websockets")
    refuses = RefusesAll()
    records.LOGGER.addFilter(refuses)
    try:
        with wire.connect(views.serve().port, path) as connection:
            command(connection, "hello")
            wire.read_frame(connection)
        wait_for(lambda: counted(views) == 0)
    finally:
        records.LOGGER.removeFilter(refuses)
    assert "a filter that fails" in capfd.readouterr().err


def test_where_nobody_wants_the_records_nothing_is_made_for_them(views, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "flask_websockets")
    made = []
    monkeypatch.setattr(records, "log_end", lambda *end: made.append(end))
    server = views.serve()
    for path in KINDS:
        server.connect(path).close()
    wait_for(lambda: counted(views) == 0 and not views.websockets.stats()["connections"])
    assert made == []


# ---- limits ----


LIMITS = {
    "WEBSOCKETS_MAX_MESSAGE_SIZE": (1000, wire.frame(1, b"x" * 2000), 1009),
    "WEBSOCKETS_MAX_FRAGMENTS": (
        2,
        wire.frame(1, b"x", final=False) + wire.frame(0, b"x", final=False) * 3,
        1008,
    ),
    "WEBSOCKETS_MAX_MESSAGE_RATE": (5, wire.frame(1, b"x") * 50, 1008),
}


@pytest.mark.parametrize("key", LIMITS)
def test_a_limit_that_was_met_is_said_with_its_key(views, caplog, key):
    value, data, code = LIMITS[key]
    views.app.config[key] = value
    server = views.serve()
    for path in KINDS * 2:
        with wire.connect(server.port, path) as connection:
            connection.sendall(data)
            while (frame := wire.read_frame(connection))[0] != 0x88:
                pass
            assert frame[1][:2] == code.to_bytes(2, "big")
        wait_for(lambda: counted(views) == 0)
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1  # of six, in one minute
    assert (said[0].name, said[0].limit) == ("flask_websockets", key)
    assert f"{key} is reached" in said[0].getMessage() and "/function" in said[0].getMessage()


def test_a_close_of_the_application_with_the_same_words_is_no_limit(application, caplog):
    @application.route("/ws")
    def view(ws):
        ws.close(1009, "message too big")

    application.serve().connect("/ws")
    wait_for(lambda: application.websockets.stats()["opens"] == 1 and counted(application) == 0)
    assert caplog.records == []


def test_the_limit_of_handlers_is_said(application, caplog):
    application.app.config["WEBSOCKETS_HANDLER_THREADS"] = 1

    @application.route("/ws")
    def view(ws):
        ws.receive()

    server = application.serve()
    with wire.connect(server.port, "/ws"):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(wire.request(server.port, "/ws"))
                assert " 503 " in wire.read_head(connection)
    assert caplog.text.count("WEBSOCKETS_HANDLER_THREADS is reached") == 1


# ---- once in a while ----


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now + 0.0


def test_each_key_is_said_once_an_interval():
    clock = Clock()
    seldom = records.Seldom(60, 10, clock)
    assert [seldom("a"), seldom("a"), seldom(("a", "b")), seldom("a")] == [True, False, True, False]
    clock.now += 59.9
    assert not seldom("a")
    clock.now += 0.2
    assert [seldom("a"), seldom("a")] == [True, False]


def test_keys_that_peers_choose_take_bounded_memory_and_lines():
    clock = Clock()
    seldom = records.Seldom(60, 10, clock)
    assert sum(seldom(f"http://{number}") for number in range(1000)) == 10
    assert len(seldom._said) == 10
    clock.now += 61
    assert sum(seldom(f"http://{number}") for number in range(5000, 6000)) == 10
    assert len(seldom._said) == 10


def test_of_many_threads_one_says_it():
    clock = Clock()
    seldom = records.Seldom(60, 10, clock)
    said = []

    def ask(barrier):
        barrier.wait(10)
        for _ in range(200):
            if seldom("key"):
                said.append(clock.now)

    for _ in range(5):
        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=ask, args=(barrier,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.now += 61
    assert len(said) == len(set(said)) == 5


def test_what_comes_from_outside_writes_no_line_of_a_warning(caplog):
    records.limit_met("WEBSOCKETS_KEY", "a handshake from %s", "1.2.3.4\nERROR an invention")
    records.warn_seldom("key", "of %s and %s", "a\rb", None)
    assert [record.getMessage() for record in caplog.records] == [
        r"a handshake from '1.2.3.4\nERROR an invention': WEBSOCKETS_KEY is reached "
        "(said once a minute)",
        r"of 'a\rb' and None",
    ]
