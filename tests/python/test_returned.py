"""What handlers and methods return, and nobody gets or runs."""

from __future__ import annotations

import functools

import pytest
import websocket
from conftest import wait_for
from test_views import KINDS, add_view, ask, code_of, ended

from flask_websockets import WebSocketView, records


@pytest.fixture(autouse=True)
def _nothing_was_said_before(monkeypatch):
    monkeypatch.setattr(records, "seldom", records.Seldom())


def add_returning_view(application, kind, value):
    """Its opening accepts, and returns the value; so does on_message of a class view."""
    if kind != "class":

        def opening(ws):
            ws.accept()
            return value

        add_view(application, kind, None, opening)
        return

    class Returning(WebSocketView):
        def on_open(self, ws):
            ws.accept()
            return value

        def on_message(self, ws, data):
            ws.send(data)

    application.route("/ws")(Returning)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_nobody_gets_is_logged(application, kind, caplog):
    add_returning_view(application, kind, ("a page", 200))
    server = application.serve()
    for _ in range(3):
        client = server.connect("/ws")
        if kind == "class":
            assert ask(client) == "?"
        else:
            assert code_of(client) == 1000
    said = [record for record in caplog.records if "which nobody gets" in record.message]
    assert [record.levelname for record in said] == ["WARNING"]
    assert "has returned tuple, which nobody gets" in said[0].message


@pytest.mark.parametrize("kind", KINDS)
def test_in_debug_mode_it_is_an_error(application, kind, caplog):
    application.app.debug = True
    given = []

    @application.app.teardown_appcontext
    def teardown(error):
        given.append(error)

    add_returning_view(application, kind, "a page")
    client = application.serve().connect("/ws")
    assert code_of(client) == 1011
    ended(application)
    failures = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert len(failures) == 1
    assert isinstance(failures[0], TypeError)
    assert "has returned str, which nobody gets" in str(failures[0])
    assert failures[0] in given


@pytest.mark.parametrize("torn_down", [False, True], ids=["nothing to tear down", "teardown"])
def test_what_on_message_returns_is_logged_once(application, caplog, torn_down):
    """In both ways in which on_message is called."""
    if torn_down:
        application.app.teardown_appcontext(lambda error: None)

    class Room(WebSocketView):
        def on_message(self, ws, data):
            ws.send(data)
            return application.websockets.publish(data, "room")

    application.route("/ws")(Room)
    client = application.serve().connect("/ws")
    for number in range(5):
        assert ask(client, str(number)) == str(number)
    said = [record.message for record in caplog.records if "nobody gets" in record.message]
    assert len(said) == 1
    assert "<locals>.Room.on_message has returned int" in said[0]


@pytest.mark.parametrize("torn_down", [False, True], ids=["nothing to tear down", "teardown"])
@pytest.mark.parametrize("method", ["on_open", "on_message", "on_close"])
def test_a_coroutine_that_a_method_returns_is_refused(application, caplog, method, torn_down):
    """A decorator that does not tell what it wraps lets an async method through."""
    if torn_down:
        application.app.teardown_appcontext(lambda error: None)

    async def work(*_):
        raise AssertionError("nobody awaits this")

    def logged(function):
        def call(self, ws, *values):
            return function(self, ws, *values)

        return call

    class Room(WebSocketView):
        def on_message(self, ws, data):
            ws.send(data)

    setattr(Room, method, logged(work))
    application.route("/ws")(Room)
    server = application.serve()
    if method == "on_open":
        with pytest.raises(websocket.WebSocketBadStatusException, match="500"):
            server.connect("/ws")
    else:
        client = server.connect("/ws")
        if method == "on_message":
            client.send("?")
            assert code_of(client) == 1011
        else:
            assert ask(client) == "?"
            client.close()
    wait_for(lambda: any(record.exc_info for record in caplog.records))
    failures = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert len(failures) == 1
    assert f"Room.{method}() is an ordinary function, and has returned a coroutine" in failures[0]
    assert "The methods of a class view are" in failures[0]


def test_a_generator_that_on_message_returns_is_refused(application, caplog):
    class Room(WebSocketView):
        def on_message(self, ws, data):
            return (ws.send(part) for part in data)

    application.route("/ws")(Room)
    client = application.serve().connect("/ws")
    client.send("abc")
    assert code_of(client) == 1011
    wait_for(lambda: "has returned a generator, which nobody runs" in caplog.text)


def test_a_handler_of_parts_is_named(application, caplog):
    def answer(prefix, ws):
        ws.accept()
        return prefix

    application.route("/ws", endpoint="ws")(functools.partial(functools.partial(answer), "x"))
    assert code_of(application.serve().connect("/ws")) == 1000
    wait_for(lambda: "answer has returned str, which nobody gets" in caplog.text)
