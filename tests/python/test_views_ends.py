"""Rows of docs/views.md about the end that no test elsewhere shows, each for the kinds of view that it
is about; and what the page says below its table."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import flask
import pytest
import wire
from async_loops import CLOSE
from conftest import wait_for
from flask import session
from flask.sessions import SecureCookieSession, SessionInterface
from test_handshake import handshake, split
from test_views import KINDS, add_view, ask, ended

from flask_websockets import ConnectionClosed, WebSocketView


def runtime(application):
    return application.app.extensions["flask_websockets.runtime"]


# ---- the peer leaves ----


def test_receive_and_send_of_a_coroutine_when_the_peer_has_left(application):
    """As in a function, see test_what_arrived_before_the_close_is_received_first."""
    got = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        while not ws.closed:
            await asyncio.sleep(0.01)
        got.extend([await ws.receive(), await ws.receive()])
        for call in (ws.receive, lambda: ws.send("x"), lambda: ws.send_json(1), ws.ping):
            with pytest.raises(ConnectionClosed) as raised:
                await call()
            got.append(raised.value.code)

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        connection.sendall(wire.frame(1, b"one") + wire.frame(1, b"two") + CLOSE)
        wait_for(lambda: len(got) == 6, what=lambda: got)
    assert got == ["one", "two", 4000, 4000, 4000, 4000]


@pytest.mark.parametrize("kind", ["function", "async"])
@pytest.mark.parametrize("method", ["data", "text", "bytes", "json"])
def test_each_iterator_ends_after_all_that_had_arrived(application, kind, method):
    got = []

    if kind == "function":

        @application.route("/ws")
        def function(ws):
            ws.send("in")
            wait_for(lambda: ws.closed)
            got.extend(getattr(ws, f"iter_{method}")())
            got.append("end")

    else:

        @application.route("/ws")
        async def coroutine(ws):
            await ws.send("in")
            while not ws.closed:
                await asyncio.sleep(0.01)
            async for data in getattr(ws, f"iter_{method}")():
                got.append(data)
            got.append("end")

    opcode = 2 if method == "bytes" else 1
    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        connection.sendall(wire.frame(opcode, b"1") + wire.frame(opcode, b"2") + CLOSE)
        wait_for(lambda: "end" in got)
    values = {"bytes": [b"1", b"2"], "json": [1, 2]}.get(method, ["1", "2"])
    assert got == [*values, "end"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["peer", "handler"])
def test_after_a_close_the_return_changes_nothing(application, kind, who):
    """Nor does what a handler is at when it has closed, or its peer, end by itself."""
    done = []

    def work(ws, data):
        if who == "handler":
            ws.close(4002, "enough")
        wait_for(lambda: ws.closed)
        time.sleep(0.05)
        done.append((ws.close_code, ws.close_reason))
        return data  # which add_view() sends: that ends a handler

    add_view(application, kind, work)
    code = {"peer": 4000, "handler": 4002}[who]
    with wire.connect(application.serve().port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") + (CLOSE if who == "peer" else b""))
        assert wire.read_close(connection)[0] == code
        if who == "handler":
            connection.sendall(wire.frame(8, b"\x0f\xa2"))
        assert connection.recv(1) == b""  # and no second close
    ended(application)
    assert done == [(code, "" if who == "peer" else "enough")]
    assert application.websockets.stats()["closes"] == {code: 1}


# ---- exceptions ----


@pytest.mark.parametrize("what", ["invalid", "bug", "closed"])
def test_on_close_follows_what_a_method_has_raised(application, what, caplog):
    caplog.set_level(logging.WARNING)
    closes = []

    @application.route("/ws")
    class View(WebSocketView):
        def on_message(self, ws, data):
            if what == "bug":
                raise KeyError(data)
            if what == "closed":
                ws.close(4002, "enough")
                ws.send(data)
            ws.send_json(ws.decode_json(data))

        def on_close(self, ws, code, reason):
            closes.append((code, reason))

    with wire.connect(application.serve().port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"{") + wire.frame(1, b"{"))
        end = {
            "invalid": (1007, "invalid JSON"),
            "bug": (1011, "internal error"),
            "closed": (4002, "enough"),
        }[what]
        assert wire.read_close(connection) == end
    ended(application)
    assert closes == [end]
    assert len(caplog.records) == (what == "bug")


# ---- the server stops ----


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_stops_and_what_was_begun_is_finished(application, kind):
    """A handler has its time to end, whatever it does in it: so has a coroutine that does not wait for
    its websocket. It may publish, though nobody is there any more."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 8
    websockets, events, began = application.websockets, [], threading.Event()
    stops = lambda: runtime(application).shutting_down  # noqa: E731

    @application.app.teardown_appcontext
    def teardown(error):
        if flask.g.get("worked"):
            events.append("teardown")

    def finish(ws):
        flask.g.worked = True
        events.append((ws.close_code, websockets.publish("last words", "room")))

    if kind == "function":

        @application.route("/ws")
        def function(ws):
            websockets.subscribe(ws, "room")
            began.set()
            wait_for(stops)
            time.sleep(0.3)
            finish(ws)

    elif kind == "class":

        @application.route("/ws")
        class View(WebSocketView):
            def on_open(self, ws):
                ws.accept()
                began.set()

            def on_message(self, ws, data):
                wait_for(stops)
                time.sleep(0.3)

            def on_close(self, ws, code, reason):
                assert code == 1001
                finish(ws)

    else:

        @application.route("/ws")
        async def coroutine(ws):
            ws.accept()
            began.set()
            while not stops():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            finish(ws)

    with wire.connect(application.serve().port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x"))
        assert began.wait(10)
        answers = threading.Thread(target=answer_close, args=(connection,))
        answers.start()
        runtime(application).shut_down()
        answers.join()
    assert events == [(1001, 0), "teardown"]
    assert runtime(application)._counted() == 0


def answer_close(connection):
    assert wire.read_close(connection) == (1001, "server shutting down")
    connection.sendall(wire.frame(8, b"\x03\xe9"))


@pytest.mark.parametrize("where", ["receive", "sleep"])
def test_the_second_half_of_the_time_is_for_finally_blocks(application, where):
    """A coroutine that is at something else is cancelled after the first."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 2
    times = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        try:
            if where == "receive":
                await ws.receive()
            await asyncio.sleep(60)
        finally:
            times.append(time.monotonic())
            await asyncio.sleep(0.3)
            times.append("finished")

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        begun = time.monotonic()
        runtime(application).shut_down()
    assert times[1:] == ["finished"]
    took = times[0] - begun
    assert took >= 0.99 if where == "sleep" else took < 0.99


@pytest.mark.parametrize("told", ["by receive", "by send", "before the stop"])
@pytest.mark.parametrize("who", ["handler", "child", "grandchild"])
def test_what_knows_of_the_end_is_not_cancelled_at_half_of_the_time(application, who, told):
    """It is in its finally blocks, or about to be: an ``await save()`` there has nearly all of the
    time. So has the one of a task that the handler waits for."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 2
    steps = []

    async def work(ws):
        try:
            if told == "by send":
                while True:
                    await ws.send("more")
                    await asyncio.sleep(0.02)
            async for _ in ws:
                pass
        finally:
            steps.append("saving")
            await asyncio.sleep(1.6)
            steps.append("saved")

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        try:
            if who == "handler":
                await work(ws)
            elif who == "child":
                await asyncio.gather(work(ws))
            else:
                child = asyncio.create_task(work(ws))
                await asyncio.wait([asyncio.create_task(asyncio.wait_for(child, 60))])
        finally:
            steps.append("ended")

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        if told == "before the stop":
            connection.sendall(wire.frame(8, b""))
            wait_for(lambda: steps)
        begun = time.monotonic()
        runtime(application).shut_down()
    assert steps == ["saving", "saved", "ended"]
    assert time.monotonic() - begun < 2.5


def test_what_knows_of_the_end_and_goes_on_is_cancelled_in_the_end(application):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 1.6
    times = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        try:
            async for _ in ws:
                pass
            await asyncio.sleep(60)
        finally:
            times.append(time.monotonic())

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        begun = time.monotonic()
        runtime(application).shut_down()
    assert 1.4 < times[0] - begun < 1.6


def test_what_a_task_knows_that_is_not_waited_for_delays_nothing(application):
    """The handler itself is at something else, and is cancelled at half of the time."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 2
    times = []

    async def reads(ws):
        async for _ in ws:
            pass
        await asyncio.sleep(0.1)

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        reader = asyncio.create_task(reads(ws))
        try:
            await asyncio.sleep(60)
        finally:
            times.append(time.monotonic())
            await reader
            await asyncio.sleep(0.5)
            times.append("finished")

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        begun = time.monotonic()
        runtime(application).shut_down()
    assert 0.9 < times[0] - begun < 1.3
    assert times[1:] == ["finished"]


# ---- until the handshake is answered ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["handler", "before_request"])
@pytest.mark.parametrize(
    ("how", "status"), [("abort", 401), ("redirect", 302), ("response", 418), ("tuple", 403)]
)
def test_what_is_decided_before_the_answer_is_plain_http(application, kind, who, how, status, caplog):
    def decide(ws=None):
        if how == "abort":
            flask.abort(401)
        if how == "redirect":
            return flask.redirect("/elsewhere", 302)
        return flask.Response("no", 418) if how == "response" else ("no", 403)

    if who == "before_request":
        application.app.before_request(decide)
    add_view(application, kind, lambda ws, data: data, decide if who == "handler" else None)
    answer, headers, text = split(application.serve().request(handshake()))
    assert answer == status
    assert headers.get("location") == ("/elsewhere" if how == "redirect" else None)
    assert how in ("abort", "redirect") or text == "no"
    ended(application)
    assert not caplog.records


class Store(SessionInterface):
    """Sessions that are kept on the server, all under one name."""

    def __init__(self):
        self.kept, self.opened, self.saved = {"user": "ann"}, 0, 0

    def open_session(self, app, request):
        self.opened += 1
        return SecureCookieSession(self.kept)

    def save_session(self, app, session, response):
        self.saved += 1
        self.kept = dict(session)


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_with_a_store_is_read_once(application, kind):
    """Who logs out in a page is still logged in here."""
    store = application.app.session_interface = Store()

    @application.app.get("/logout")
    def logout():
        return session.pop("user")

    add_view(application, kind, lambda ws, data: session.get("user"))
    server = application.serve()
    client = server.connect("/ws")
    assert ask(client) == "ann"
    page = server.request("GET /logout HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert page.endswith(b"ann") and store.kept == {}
    assert ask(client) == "ann"
    client.close()
    ended(application)
    assert (store.opened, store.saved, store.kept) == (2, 2, {})


# ---- units of work ----


@pytest.mark.parametrize("connected", ["before", "after"])
def test_receivers_of_the_signals_around_application_contexts(application, connected):
    """Of a class view: those that were connected when the websocket opened."""
    calls = []
    signals = {
        "pushed": flask.appcontext_pushed,
        "tearing down": flask.appcontext_tearing_down,
        "popped": flask.appcontext_popped,
    }

    def connect():
        for name, signal in signals.items():
            receivers[name] = lambda app, name=name, **_: calls.append(name)
            signal.connect(receivers[name], application.app)

    receivers = {}
    if connected == "before":
        connect()
    add_view(application, "class", lambda ws, data: calls.append(data))
    client = application.serve().connect("/ws")
    wait_for(lambda: connected == "after" or calls == list(signals))  # around the handshake
    calls.clear()
    connect()
    for data in ("one", "two"):
        ask(client, data)
    client.close()
    ended(application)
    unit = {
        "before": [("pushed", name, "tearing down", "popped") for name in ("one", "two")],
        "after": [("one",), ("two",)],
    }[connected]
    end = list(signals) if connected == "before" else []  # around on_close
    assert calls == [*unit[0], *unit[1], *end]
