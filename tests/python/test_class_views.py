"""Class views: what is called, when, in which context, and what a callback may do wrong."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import flask
import pytest
import websocket
import wire
from conftest import wait_for
from views import Recorder, echo_view

from flask_websockets import ConnectionClosed, WebSocketView


@pytest.fixture
def noted():
    return Recorder()


def close_of(client):
    opcode, data = client.recv_data()
    assert opcode == 8
    return int.from_bytes(data[:2], "big")


# ---- what is called ----


def test_open_message_close(application, noted):
    @application.route("/room/<name>/<int:number>")
    class Room(WebSocketView):
        def on_open(self, ws, name, number):
            self.name, self.number = name, number
            noted("open", name, number)

        def on_message(self, ws, data):
            noted("message", data)
            ws.send(f"{self.name} {self.number} {data}")

        def on_close(self, ws, code, reason):
            noted("close", code, reason, ws.closed)

    server = application.serve()
    client = server.connect("/room/green/7")
    client.send("one")
    assert client.recv() == "green 7 one"
    client.send_binary(b"two")
    assert client.recv() == "green 7 b'two'"
    client.close(4001, b"enough")
    noted.wait("close", 4001, "enough", True)
    assert noted.calls == [
        ("open", "green", 7),
        ("message", "one"),
        ("message", b"two"),
        ("close", 4001, "enough", True),
    ]
    wait_for(lambda: not server.app.extensions["flask_websockets.runtime"]._open)


@pytest.mark.parametrize("context", ["request", "app"])
def test_on_message_is_all_that_a_view_needs(application, context):
    echo_view(application, context=context)
    client = application.serve().connect("/ws")
    for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
        client.send_binary(b"x" * size)
        assert client.recv() == b"x" * size


def test_messages_come_in_order_and_never_two_at_once(application):
    inside = []

    @application.route("/ws")
    class Ordered(WebSocketView):
        def on_open(self, ws):
            self.expected = 0

        def on_message(self, ws, data):
            inside.append(1)
            assert len(inside) == 1
            assert int(data) == self.expected
            self.expected += 1
            if self.expected % 500 == 0:
                time.sleep(0.01)
            ws.send(data)
            inside.pop()

    client = application.serve().connect("/ws")
    sender = threading.Thread(target=lambda: [client.send(str(i)) for i in range(5000)])
    sender.start()
    assert [client.recv() for _ in range(5000)] == [str(i) for i in range(5000)]
    sender.join()


def test_no_thread_for_each(application):
    echo_view(application)
    server = application.serve()
    server.connect("/ws")
    before = threading.active_count(), len(os.listdir("/proc/self/task"))
    clients = [server.connect("/ws") for _ in range(100)]
    wait_for(lambda: len(server.websockets.connections) == 101)
    wait_for(lambda: threading.active_count() <= before[0])
    for client in clients:
        client.send("x")
    assert [client.recv() for client in clients] == ["x"] * 100
    # Some of the engine's own, when a busy machine holds up a callback; far from one for each.
    assert len(os.listdir("/proc/self/task")) <= before[1] + 10


# ---- contexts ----


@pytest.mark.parametrize("context", ["request", "app"])
@pytest.mark.parametrize("torn_down", [True, False], ids=["teardown", "no teardown"])
def test_each_callback_is_a_unit_of_work(application, context, torn_down, noted):
    application.app.secret_key = "secret"

    @application.app.before_request
    def before():
        flask.g.user = flask.request.args.get("user")
        flask.session["seen"] = True

    if torn_down:

        @application.app.teardown_request
        def teardown(error):
            noted("teardown request", error)

        @application.app.teardown_appcontext
        def teardown_app(error):
            thread = threading.get_ident()
            noted("teardown", flask.g.pop("what", None), flask.g.pop("thread", thread) == thread)

    class Units(WebSocketView):
        def on_open(self, ws):
            flask.g.what = "open"

        def on_message(self, ws, data):
            work(data)

        def on_close(self, ws, code, reason):
            work("close")

    def work(what):
        left = sorted(flask.g)
        flask.g.what, flask.g.thread = what, threading.get_ident()
        request = flask.has_request_context()
        seen = (flask.request.path, flask.session["seen"]) if request else None
        noted(what, left, flask.current_app.name, seen)

    def expected(what):
        done = [(what, [], "tested", ("/ws", True) if context == "request" else None)]
        return done + ([("teardown", what, True)] if torn_down else [])

    Units.context = context
    application.route("/ws")(Units)
    client = application.serve().connect("/ws?user=ann")
    opened = [("teardown request", None), ("teardown", "open", True)] if torn_down else []
    wait_for(lambda: noted.calls == opened)  # and not only at the end of the websocket
    client.send("one")
    client.send("two")
    client.close()
    calls = opened + expected("one") + expected("two") + expected("close")
    wait_for(lambda: noted.calls == calls, what=f"{calls}, not {noted.calls}")


def test_a_context_variable_lives_as_long_as_the_websocket(application):
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)

    @application.route("/ws")
    class Counts(WebSocketView):
        def on_open(self, ws):
            variable.set(10)

        def on_message(self, ws, data):
            variable.set(variable.get() + 1)
            ws.send(str(variable.get()))

    server = application.serve()
    one, other = server.connect("/ws"), server.connect("/ws")
    one.send("")
    one.recv()
    one.send("")
    other.send("")
    assert (one.recv(), other.recv()) == ("12", "11")


# ---- the handshake ----


def test_on_open_may_refuse(application, noted):
    @application.route("/ws/<how>")
    class Refuses(WebSocketView):
        def on_open(self, ws, how):
            if how == "abort":
                flask.abort(401)
            if how == "redirect":
                return flask.redirect("/elsewhere", 302)  # whatever Flask's default is
            if how == "response":
                return "no", 418
            if how == "raise":
                raise KeyError("a bug")
            return None

        def on_message(self, ws, data):
            ws.send(data)

        def on_close(self, ws, code, reason):
            noted("close", code)

    server = application.serve()
    for how, status in (("abort", 401), ("redirect", 302), ("response", 418), ("raise", 500)):
        answer = server.request(wire.request(server.port, f"/ws/{how}").decode().replace("\r", ""))
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    client = server.connect("/ws/not")
    client.send("in")
    assert client.recv() == "in"
    client.close()
    noted.wait("close", 1000)
    assert noted.calls == [("close", 1000)]
    wait_for(lambda: not server.app.extensions["flask_websockets.runtime"]._open)


def test_before_request_may_refuse(application):
    application.app.before_request(lambda: flask.abort(403))
    echo_view(application)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        application.serve().connect("/ws")
    assert refused.value.status_code == 403


def test_what_on_open_sends_comes_first(application):
    @application.route("/ws")
    class Greets(WebSocketView):
        def on_open(self, ws):
            ws.accept(headers={"X-Own": "yes"})
            ws.send("welcome")
            time.sleep(0.2)  # messages that come meanwhile wait
            self.ready = True

        def on_message(self, ws, data):
            ws.send(f"{data} {self.ready}")

    client = application.serve().connect("/ws")
    assert client.headers["x-own"] == "yes"
    client.send("at once")
    assert client.recv() == "welcome"
    assert client.recv() == "at once True"


def test_bytes_read_ahead_and_a_close_at_once(application, noted):
    @application.route("/ws")
    class Quick(WebSocketView):
        def on_message(self, ws, data):
            noted("message", data)

        def on_close(self, ws, code, reason):
            noted("close", code)

    server = application.serve()
    connection = wire.connect_with(server.port, "/ws", wire.frame(1, b"one") + wire.frame(1, b"two"))
    noted.wait("message", "two")
    connection.close()
    noted.wait("close", 1006)
    assert noted.calls == [("message", "one"), ("message", "two"), ("close", 1006)]


def test_limits_count_class_views(application):
    application.app.config["WEBSOCKETS_MAX_CONNECTIONS"] = 1
    echo_view(application)
    server = application.serve()
    client = server.connect("/ws")
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        server.connect("/ws")
    assert refused.value.status_code == 503
    client.close()
    wait_for(lambda: not server.websockets.connections)
    wait_for(lambda: not server.app.extensions["flask_websockets.runtime"]._open)
    server.connect("/ws")


# ---- the end ----


def test_an_exception_is_logged_once_and_closes_with_1011(application, noted, caplog):
    @application.route("/ws/<where>")
    class Fails(WebSocketView):
        def on_open(self, ws, where):
            self.where = where
            if where == "open":
                ws.send("accepted")
                raise KeyError("in open")

        def on_message(self, ws, data):
            noted("message", data)
            if self.where == "message":
                raise KeyError("in message")
            if self.where == "exit":
                raise SystemExit

        def on_close(self, ws, code, reason):
            noted("close", self.where, code)
            if self.where == "close":
                raise KeyError("in close")

    server = application.serve()
    for where in ("open", "message", "exit"):
        client = server.connect(f"/ws/{where}")
        if where == "open":
            assert client.recv() == "accepted"
        else:
            client.send("one")
            client.send("two")
        assert close_of(client) == 1011
        client.shutdown()
        noted.wait("close", where, 1011)
        assert len([record for record in caplog.records if record.exc_info]) == 1
        assert caplog.records[-1].getMessage() == f"Exception on /ws/{where} [GET]"
        caplog.clear()
    client = server.connect("/ws/close")
    client.close()
    noted.wait("close", "close", 1000)
    wait_for(lambda: "Exception on /ws/close" in caplog.text)
    assert noted.calls == [
        ("close", "open", 1011),
        ("message", "one"),
        ("close", "message", 1011),
        ("message", "one"),
        ("close", "exit", 1011),
        ("close", "close", 1000),
    ]


@pytest.mark.parametrize("context", ["request", "app"])
def test_a_peer_that_is_gone_is_no_exception(application, noted, caplog, context):
    """Sending to it raises ConnectionClosed, which is silent when it leaves a callback."""
    chosen = context

    @application.route("/ws")
    class Late(WebSocketView):
        context = chosen

        def on_message(self, ws, data):
            wait_for(lambda: ws.closed)
            noted("message", data)
            ws.send(data)

        def on_close(self, ws, code, reason):
            noted("close", code)
            ws.send("too late")

    server = application.serve()
    client = server.connect("/ws")
    client.send("one")
    client.send("two")
    client.shutdown()
    noted.wait("close", 1006)
    wait_for(lambda: not server.websockets.connections)
    assert noted.calls == [("message", "one"), ("message", "two"), ("close", 1006)]
    assert not caplog.records


def test_an_exception_without_a_request_context(application, caplog):
    @application.route("/ws")
    class Fails(WebSocketView):
        context = "app"

        def on_message(self, ws, data):
            raise KeyError(data)

    client = application.serve().connect("/ws")
    client.send("x")
    assert close_of(client) == 1011
    wait_for(lambda: "Fails" in caplog.text)
    assert "KeyError: 'x'" in caplog.text


def test_own_close(application, noted):
    @application.route("/ws")
    class Leaves(WebSocketView):
        def on_message(self, ws, data):
            noted("message", data)
            ws.send("bye")
            ws.close(4002, "had enough")
            with pytest.raises(ConnectionClosed):
                ws.send("more")

        def on_close(self, ws, code, reason):
            noted("close", code, reason)

    server = application.serve()
    connection = wire.connect(server.port, "/ws")
    connection.sendall(b"".join(wire.frame(1, b"%d" % i) for i in range(5)))
    assert wire.read_frame(connection) == (0x81, b"bye")
    assert wire.read_frame(connection) == (0x88, (4002).to_bytes(2, "big") + b"had enough")
    noted.wait("close", 4002, "had enough")
    assert noted.calls == [("message", "0"), ("close", 4002, "had enough")]
    connection.close()


def test_a_peer_that_vanishes(application, noted):
    echo_view(application, on_close=lambda self, ws, code, reason: noted("close", code))
    server = application.serve()
    for _ in range(20):
        wire.connect(server.port, "/ws").close()
    wait_for(lambda: noted.calls == [("close", 1006)] * 20)


def test_messages_before_a_close_are_given_out(application, noted):
    @application.route("/ws")
    class Notes(WebSocketView):
        def on_message(self, ws, data):
            noted(data)
            time.sleep(0.01)

        def on_close(self, ws, code, reason):
            noted(code)

    server = application.serve()
    connection = wire.connect(server.port, "/ws")
    frames = [wire.frame(1, b"%d" % i) for i in range(50)]
    connection.sendall(b"".join(frames) + wire.frame(8, (1000).to_bytes(2, "big")))
    noted.wait(1000)
    assert noted.calls == [(str(i),) for i in range(50)] + [(1000,)]
    connection.close()


def test_the_server_stops(application, noted):
    echo_view(application, on_close=lambda self, ws, code, reason: noted("close", code))
    server = application.serve()
    clients = [server.connect("/ws") for _ in range(10)]
    threads = [threading.Thread(target=lambda c=c: c.recv_data()) for c in clients]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    server.app.extensions["flask_websockets.runtime"].shut_down()
    assert time.monotonic() - begun < 5
    assert noted.calls == [("close", 1001)] * 10
    for thread in threads:
        thread.join()


def test_nothing_is_left_of_a_view(application):
    references = []

    @application.route("/ws")
    class Refers(WebSocketView):
        def on_open(self, ws):
            self.ws = ws  # a cycle
            references.append(weakref.ref(self))
            references.append(weakref.ref(ws))

        def on_message(self, ws, data):
            del self.ws
            ws.send(data)

    client = application.serve().connect("/ws")
    client.send("x")
    client.recv()
    client.close()

    def gone():
        gc.collect()
        return all(reference() is None for reference in references)

    wait_for(gone)
