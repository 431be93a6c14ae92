"""What is reported when a handler ends with an exception, and that the websocket closes in any case."""

from __future__ import annotations

import sys
import threading

import flask
import pytest
import wire
from conftest import wait_for

from flask_websockets import WebSocketView


def test_the_close_of_another_websocket_is_an_error_of_the_handler(application, caplog):
    """A handler that sends to one that has gone ends with an exception, as with any other."""
    websockets = application.websockets
    clients = []

    @application.route("/function")
    def function(ws):
        clients.append(ws)
        for data in ws.iter_data():
            clients[0].send(data)

    @application.route("/class")
    class View(WebSocketView):
        def on_open(self, ws):
            clients.append(ws)

        def on_message(self, ws, data):
            clients[0].send(data)

    @application.route("/async")
    async def coroutine(ws):
        clients.append(ws)
        async for data in ws:
            await clients[0].send(data)

    server = application.serve()
    for path in ("/function", "/class", "/async"):
        clients.clear()
        caplog.clear()
        gone = server.connect(path)
        wait_for(lambda: len(clients) == 1)
        with wire.connect(server.port, path) as connection:
            wait_for(lambda: len(clients) == 2)
            gone.close()
            wait_for(lambda: clients[0].closed)
            connection.sendall(wire.frame(1, b"x"))
            assert wire.read_close(connection) == (1011, "internal error")
        assert "ConnectionClosed" in caplog.text
    wait_for(lambda: not websockets.connections)


@pytest.mark.parametrize("path", ["/function", "/class", "/opening", "/async"])
def test_the_usual_end_is_no_error_for_teardown_functions(application, caplog, path):
    """ConnectionClosed of the websocket whose handler, or method, it ends."""
    errors = []
    application.app.teardown_appcontext(lambda error: errors.append(error))

    @application.route("/function")
    def function(ws):
        ws.receive()
        ws.close()
        ws.send("x")

    class View(WebSocketView):
        def on_open(self, ws):
            if flask.request.path == "/opening":
                self.on_message(ws, "x")

        def on_message(self, ws, data):
            ws.close()
            ws.send("x")

        def on_close(self, ws, code, reason):
            ws.send("x")

    application.route("/class")(View)
    application.route("/opening", endpoint="opening")(View)

    @application.route("/async")
    async def coroutine(ws):
        await ws.receive()
        ws.close()
        await ws.send("x")

    with wire.connect(application.serve().port, path) as connection:
        connection.sendall(wire.frame(1, b"x"))
        assert wire.read_close(connection) == (1000, "")
    # Of the handshake and what ran in it; of each call of a method after that; of the coroutine.
    count = {"/function": 1, "/class": 3, "/opening": 2, "/async": 2}[path]
    wait_for(lambda: len(errors) == count, what=lambda: errors)
    assert errors == [None] * count
    assert not caplog.records


@pytest.mark.parametrize("path", ["/function", "/class", "/async"])
def test_a_report_that_fails_closes_all_the_same(application, caplog, path):
    @application.route("/function")
    def function(ws):
        ws.receive()
        raise ValueError("the first")

    @application.route("/async")
    async def coroutine(ws):
        await ws.receive()
        raise ValueError("the first")

    @application.route("/class")
    class View(WebSocketView):
        def on_message(self, ws, data):
            raise ValueError("the first")

    @flask.got_request_exception.connect_via(application.app)
    def receiver(*_args, **_options):
        raise RuntimeError("the second")

    threading_hook, unraisable_hook = threading.excepthook, sys.unraisablehook
    sys.unraisablehook = threading.excepthook = lambda *_: None
    try:
        with wire.connect(application.serve().port, path) as connection:
            connection.sendall(wire.frame(1, b"x"))
            assert wire.read_close(connection) == (1011, "internal error")
        wait_for(lambda: not application.websockets.connections)
    finally:
        threading.excepthook, sys.unraisablehook = threading_hook, unraisable_hook
    assert "the first" in caplog.text


def test_a_teardown_function_that_fails_is_logged(application, caplog):
    @application.route("/ws")
    def view(ws):
        ws.send("hello")

    @application.app.teardown_request
    def teardown(_error):
        raise ValueError("in the teardown")

    client = application.serve().connect("/ws")
    assert client.recv() == "hello"
    wait_for(lambda: "in the teardown" in caplog.text)
