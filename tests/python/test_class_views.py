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

from flask_websockets import ConnectionClosed, WebSocketView


class Recorder:
    """Notes what is called."""

    def __init__(self):
        self.calls = []

    def __call__(self, *call):
        self.calls.append(call)

    def wait(self, *call):
        wait_for(lambda: call in self.calls, what=f"{call} among {self.calls}")


@pytest.fixture
def noted():
    return Recorder()


def close_of(client):
    opcode, data = client.recv_data()
    assert opcode == 8
    return int.from_bytes(data[:2], "big")


def echo_view(application, path="/ws", **attributes):
    class Echo(WebSocketView):
        def on_message(self, ws, data):
            ws.send(data)

    for name, value in attributes.items():
        setattr(Echo, name, value)
    return application.route(path)(Echo)


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
    wait_for(lambda: not server.app.extensions["flask_websockets"]._open)


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
    assert len(os.listdir("/proc/self/task")) <= before[1] + 2


# ---- contexts ----


@pytest.mark.parametrize("context", ["request", "app"])
def test_contexts_of_callbacks(application, context, noted):
    application.app.secret_key = "secret"

    @application.app.before_request
    def before():
        flask.g.user = flask.request.args.get("user")
        flask.session["seen"] = True

    @application.app.teardown_request
    def teardown(error):
        noted("teardown", error)

    @application.app.teardown_appcontext
    def teardown_app(error):
        noted("teardown app", error)

    @application.route("/ws")
    class Contexts(WebSocketView):
        def on_message(self, ws, data):
            if context == "request":
                g = flask.g
                ws.send(
                    f"{g.user} {flask.request.path} {flask.session['seen']} {flask.request.endpoint}"
                )
            else:
                assert not flask.has_request_context()
                ws.send(f"{flask.current_app.name} {'user' in flask.g}")
                flask.g.user = "left behind"

        def on_close(self, ws, code, reason):
            noted("close", flask.g.get("user"), flask.current_app.name)

    Contexts.context = context
    client = application.serve().connect("/ws?user=ann")
    if context == "app":
        noted.wait("teardown app", None)
    for _ in range(2):
        client.send("?")
        expected = "ann /ws True Contexts" if context == "request" else "tested False"
        assert client.recv() == expected
    if context == "request":
        assert noted.calls == []  # the request goes on
    client.close()
    user = "ann" if context == "request" else None
    noted.wait("close", user, "tested")
    wait_for(
        lambda: ("teardown app", None) in noted.calls[noted.calls.index(("close", user, "tested")) :]
    )
    assert noted.calls.count(("teardown", None)) == 1


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
                return flask.redirect("/elsewhere")
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
    wait_for(lambda: not server.app.extensions["flask_websockets"]._open)


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
    wait_for(lambda: not server.app.extensions["flask_websockets"]._open)
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
    server.app.extensions["flask_websockets"].shut_down()
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


# ---- what callbacks do ----


def test_a_class_view_does_not_receive(application):
    @application.route("/ws")
    class Receives(WebSocketView):
        def on_message(self, ws, data):
            for call in (ws.receive, lambda: next(ws.iter_data())):
                with pytest.raises(RuntimeError, match="its messages come to on_message"):
                    call()
            ws.send("right")

    client = application.serve().connect("/ws")
    client.send("x")
    assert client.recv() == "right"


def test_channels(application):
    @application.route("/room/<name>")
    class Room(WebSocketView):
        def on_open(self, ws, name):
            application.websockets.subscribe(ws, name)

        def on_message(self, ws, data):
            assert application.websockets.publish(data, ws.channels) == 3
            ws.send("published")

    server = application.serve()
    clients = [server.connect("/room/a") for _ in range(3)]
    clients[0].send("to all")
    assert [clients[0].recv(), clients[0].recv()] == ["to all", "published"]
    assert [client.recv() for client in clients[1:]] == ["to all"] * 2
    clients[2].close()
    wait_for(lambda: application.websockets.publish("x", "a") == 2)


def test_it_may_be_used_from_other_threads(application):
    @application.route("/ws")
    class Works(WebSocketView):
        def on_message(self, ws, data):
            def work():
                time.sleep(0.05)
                ws.send(f"done {data}")

            threading.Thread(target=work).start()

    client = application.serve().connect("/ws")
    client.send("it")
    assert client.recv() == "done it"


def test_a_ping(application):
    @application.route("/ws")
    class Pings(WebSocketView):
        def on_message(self, ws, data):
            ws.send(str(0 <= ws.ping() < 5))

    client = application.serve().connect("/ws")
    client.send("x")
    assert client.recv_data_frame(control_frame=True)[0] == 9
    assert client.recv() == "True"


def test_much_that_nobody_reads_blocks_the_sender_alone(application, noted):
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 100_000

    @application.route("/flood")
    class Floods(WebSocketView):
        def on_message(self, ws, data):
            for _ in range(1000):
                ws.send(b"x" * 100_000)

        def on_close(self, ws, code, reason):
            noted("close", code)

    echo_view(application)
    server = application.serve()
    flooded = wire.connect(server.port, "/flood")
    flooded.sendall(wire.frame(1, b"go"))
    client = server.connect("/ws")
    for _ in range(100):
        client.send("x")
        assert client.recv() == "x"
    flooded.close()
    wait_for(lambda: noted.calls and noted.calls[0][0] == "close")


# ---- callbacks that block ----


def sleeper(application, asleep=0.3):
    @application.route("/sleep")
    class Sleeps(WebSocketView):
        def on_message(self, ws, data):
            ws.send("asleep")
            time.sleep(asleep)
            ws.send("awake")

    return Sleeps


def test_callbacks_that_sleep_hold_up_nobody(application):
    sleeper(application, 1)
    echo_view(application)
    server = application.serve()
    sleepers = [server.connect("/sleep") for _ in range(30)]
    client = server.connect("/ws")
    times = []
    for round_ in range(2):
        begun = time.monotonic()
        for one in sleepers:
            one.send("x")
        for _ in range(50):
            sent = time.monotonic()
            client.send("x")
            client.recv()
            times.append(time.monotonic() - sent)
        for one in sleepers:
            assert [one.recv(), one.recv()] == ["asleep", "awake"]
        assert time.monotonic() - begun < 2.5, round_  # all at the same time
    assert sorted(times)[90] < 0.1


def test_what_a_callback_sends_before_it_sleeps_goes_out(application):
    sleeper(application, 1)
    client = application.serve().connect("/sleep")
    begun = time.monotonic()
    client.send("x")
    assert client.recv() == "asleep"
    assert time.monotonic() - begun < 0.5
    assert client.recv() == "awake"


def test_no_more_at_once_than_callback_threads(application):
    application.app.config["WEBSOCKETS_CALLBACK_THREADS"] = 3
    inside, most = [], []

    @application.route("/ws")
    class Counts(WebSocketView):
        def on_message(self, ws, data):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.1)
            inside.pop()
            ws.send(data)

    server = application.serve()
    clients = [server.connect("/ws") for _ in range(12)]
    for client in clients:
        client.send("x")
    for client in clients:
        assert client.recv() == "x"
    assert 2 <= max(most) <= 3


def test_a_callback_that_never_returns(application, noted):
    for_ever = threading.Event()

    @application.route("/stuck")
    class Stuck(WebSocketView):
        def on_message(self, ws, data):
            noted("stuck")
            for_ever.wait()

    echo_view(application, on_close=lambda self, ws, code, reason: noted("close", code))
    server = application.serve()
    stuck = wire.connect(server.port, "/stuck")
    stuck.sendall(wire.frame(1, b"x"))
    noted.wait("stuck")
    client = server.connect("/ws")
    client.send("x")
    assert client.recv() == "x"
    reader = threading.Thread(target=client.recv_data)
    reader.start()
    begun = time.monotonic()
    server.app.extensions["flask_websockets"].shut_down()
    assert time.monotonic() - begun < 6
    assert ("close", 1001) in noted.calls
    reader.join()
    stuck.close()
    for_ever.set()


def test_a_callback_that_forks(application, noted):
    @application.route("/ws")
    class Forks(WebSocketView):
        def on_message(self, ws, data):
            child = os.fork()
            if child == 0:
                if data == "exit":
                    os._exit(7)
                return  # into nothing: its threads are the parent's
            noted(data, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            ws.send("parent")

    client = application.serve().connect("/ws")
    client.send("exit")
    assert client.recv() == "parent"
    client.send("return")
    assert client.recv() == "parent"
    assert noted.calls == [("exit", 7), ("return", 0)]


# ---- at decoration ----


def test_views_that_could_not_work(application):
    class Nothing:
        pass

    class Silent(WebSocketView):
        pass

    class Asynchronous(WebSocketView):
        async def on_message(self, ws, data):
            pass

    class Elsewhere(WebSocketView):
        context = "elsewhere"

        def on_message(self, ws, data):
            pass

    class Needy(WebSocketView):
        def __init__(self, database):
            pass

        def on_message(self, ws, data):
            pass

    for view, error, text in (
        (Nothing, TypeError, "a function or a WebSocketView, and Nothing is neither"),
        (Silent, TypeError, r"Silent has no on_message\(\)"),
        (Asynchronous, TypeError, r"Asynchronous.on_message\(\) is async"),
        (Elsewhere, ValueError, "Elsewhere.context must be"),
        (Needy, TypeError, r"Needy\(\) is made without arguments, and .*database"),
    ):
        with pytest.raises(error, match=text):
            application.route("/ws")(view)


def test_one_class_may_have_several_routes(application):
    view = echo_view(application, "/one")
    application.route("/two")(view)
    server = application.serve()
    for path in ("/one", "/two"):
        client = server.connect(path)
        client.send(path)
        assert client.recv() == path
