"""A message that is not what it is decoded as: the peer's fault, which no log is filled with; and what
a close with 1011 says."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys

import pytest
import wire
from conftest import wait_for

from flask_websockets import ConnectionClosed, InvalidMessage, WebSocketView

KINDS = ["/function", "/class", "/async"]
FORMS = {
    "json": (wire.frame(1, b"{"), "invalid JSON"),
    "json in UTF-8 that is none": (wire.frame(2, b'"\xff"'), "invalid JSON"),
    "json nested too deep": (wire.frame(1, b"[" * 100_000), "invalid JSON"),
    "msgpack": (wire.frame(2, b"\xc1"), "invalid MessagePack"),
    "msgpack of a text": (wire.frame(1, "é".encode()), "invalid MessagePack"),
    "msgpack nested too deep": (wire.frame(2, b"\x91" * 100_000), "invalid MessagePack"),
}


def receive(ws, path):
    """How the handlers below receive a value."""
    return ws.receive_msgpack() if "msgpack" in path else ws.receive_json()


def decode(ws, data, path):
    return ws.decode_msgpack(data) if "msgpack" in path else ws.decode_json(data)


@pytest.fixture
def careless(application):
    """Views that expect what is no JSON, or MessagePack, of nobody."""

    @application.route("/function/<what>")
    def function(ws, what):
        while True:
            ws.send_json(receive(ws, what))

    @application.route("/class/<what>")
    class Class(WebSocketView):
        def on_open(self, ws, what):
            self.what = what

        def on_message(self, ws, data):
            ws.send_json(decode(ws, data, self.what))

    @application.route("/async/<what>")
    async def coroutine(ws, what):
        while True:
            await ws.send_json(await receive(ws, what))

    return application


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_an_invalid_message_closes_with_1007_and_fills_no_log(careless, caplog, path, form):
    caplog.set_level(logging.INFO)
    data, reason = FORMS[form]
    with wire.connect(careless.serve().port, f"{path}/{form.split()[0]}") as connection:
        connection.sendall(data)
        assert wire.read_close(connection) == (1007, reason)
    wait_for(lambda: "closed by server" in caplog.text)
    said = [record for record in caplog.records if record.name != "werkzeug"]
    assert [(record.code, record.reason) for record in said] == [(1007, reason)]
    assert said[0].exc_info is None


@pytest.fixture
def careful(application):
    """Views that answer what is no JSON, and go on."""

    @application.route("/function")
    def function(ws):
        values = ws.iter_json()
        while not ws.closed:
            try:
                for value in values:
                    ws.send_json(value)
            except InvalidMessage as error:
                ws.send_json([error.expected, error.data, str(error), type(error.__cause__).__name__])

    @application.route("/again")
    def again(ws):
        while not ws.closed:
            try:
                for value in ws.iter_json():
                    ws.send_json(value)
            except InvalidMessage as error:
                ws.send_json([error.expected, error.data, str(error), type(error.__cause__).__name__])

    @application.route("/class")
    class Class(WebSocketView):
        def on_message(self, ws, data):
            try:
                ws.send_json(ws.decode_json(data))
            except InvalidMessage as error:
                ws.send_json([error.expected, error.data, str(error), type(error.__cause__).__name__])

    @application.route("/async")
    async def coroutine(ws):
        while True:
            try:
                value = await ws.receive_json()
            except InvalidMessage as error:
                value = [error.expected, error.data, str(error), type(error.__cause__).__name__]
            await ws.send_json(value)

    @application.route("/async-iter")
    async def iterates(ws):
        values = ws.iter_json()
        while not ws.closed:
            try:
                async for value in values:
                    await ws.send_json(value)
            except InvalidMessage as error:
                await ws.send_json(
                    [error.expected, error.data, str(error), type(error.__cause__).__name__]
                )

    return application


@pytest.mark.parametrize("path", [*KINDS, "/again", "/async-iter"])
def test_a_handler_that_catches_it_goes_on(careful, path):
    client = careful.serve().connect(path)
    for value in (1, {"two": 2}):
        client.send(json.dumps(value))
        assert json.loads(client.recv()) == value
        for _ in range(2):
            client.send("{")
            expected, data, said, cause = json.loads(client.recv())
            assert (expected, data, cause) == ("JSON", "{", "JSONDecodeError")
            assert said.startswith("a message is not JSON: Expecting")
    client.close()


@pytest.mark.parametrize("path", KINDS)
def test_a_value_error_of_the_handlers_own_is_its_own(application, caplog, path):
    @application.route("/function")
    def function(ws):
        for _ in ws.iter_json():
            json.loads("{")

    @application.route("/class")
    class Class(WebSocketView):
        def on_message(self, ws, data):
            json.loads("{")

    @application.route("/async")
    async def coroutine(ws):
        async for _ in ws.iter_json():
            json.loads("{")

    with wire.connect(application.serve().port, path) as connection:
        connection.sendall(wire.frame(1, b"1"))
        assert wire.read_close(connection) == (1011, "internal error")
    wait_for(lambda: "JSONDecodeError" in caplog.text)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no task groups")
@pytest.mark.parametrize(("beside", "code"), [("nothing", 1007), ("a close", 1007), ("a bug", 1011)])
def test_in_a_group_of_exceptions(application, caplog, beside, code):
    others = {"a close": [ConnectionClosed(1000)], "a bug": [KeyError("a bug")]}

    @application.route("/ws")
    def view(ws):
        ws.accept()
        invalid = ExceptionGroup("deeper", [InvalidMessage("JSON", "{")])  # noqa: F821
        raise ExceptionGroup("all", [invalid, *others.get(beside, [])])  # noqa: F821

    with wire.connect(application.serve().port, "/ws") as connection:
        assert wire.read_close(connection)[0] == code
    assert ("a bug" in caplog.text) == (code == 1011)


@pytest.mark.parametrize("path", ["/function", "/async"])
def test_the_message_of_another_websocket_is_an_error_of_the_handler(application, caplog, path):
    """Its own peer has done nothing wrong."""
    others = []

    @application.route("/other")
    class Other(WebSocketView):
        def on_open(self, ws):
            ws.accept()
            others.append(ws)

        def on_message(self, ws, data):
            pass

    @application.route("/function")
    def function(ws):
        ws.receive()
        others[0].decode_json("{")

    @application.route("/async")
    async def coroutine(ws):
        await ws.receive()
        others[0].decode_json("{")

    server = application.serve()
    with wire.connect(server.port, "/other"), wire.connect(server.port, path) as connection:
        connection.sendall(wire.frame(1, b"x"))
        assert wire.read_close(connection) == (1011, "internal error")
    assert "InvalidMessage" in caplog.text


def test_a_task_of_a_handler_that_lets_it_escape(application, caplog):
    """One that nobody awaits: the peer is closed all the same, and no log is filled."""

    @application.route("/ws")
    async def view(ws):
        async def read():
            async for value in ws.iter_json():
                await ws.send_json(value)

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        del reader
        while not ws.closed:
            await asyncio.sleep(0.01)
            gc.collect()

    with wire.connect(application.serve().port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"1"))
        assert wire.read_frame(connection) == (0x81, b"1")
        connection.sendall(wire.frame(1, b"{"))
        assert wire.read_close(connection) == (1007, "invalid JSON")
    wait_for(lambda: not application.websockets.connections)
    assert "Traceback" not in caplog.text and not [r for r in caplog.records if r.exc_info]


def test_a_message_is_not_in_the_repr_of_its_error():
    error = InvalidMessage("JSON", "x" * 1_000_000)
    assert len(repr(error)) < 100 and len(str(error)) < 100
    assert isinstance(error, ValueError)


class Überläufer(Exception):
    """Its name is longer in UTF-8 than in characters."""


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", [KeyError, Überläufer, type("E" * 200, (Exception,), {})])
def test_a_debugger_is_told_the_type_of_an_exception_and_nothing_else(application, path, debug, kind):
    application.app.debug = debug

    @application.route("/function")
    def function(ws):
        ws.receive()
        raise kind("a secret")

    @application.route("/class")
    class Class(WebSocketView):
        def on_message(self, ws, data):
            raise kind("a secret")

    @application.route("/async")
    async def coroutine(ws):
        await ws.receive()
        raise kind("a secret")

    with wire.connect(application.serve().port, path) as connection:
        connection.sendall(wire.frame(1, b"x"))
        code, reason = wire.read_close(connection)
    expected = f"internal error: {kind.__name__}"[:123] if debug else "internal error"
    assert (code, reason) == (1011, expected)
