"""Programs written for flask-websockets 0.1.2 run: its names, its arguments, what its handlers did."""

from __future__ import annotations

import datetime
import enum
import gc
import importlib
import inspect
import threading
import time
import weakref

import flask
import msgspec
import pytest
import websocket
from conftest import wait_for
from flask.json.provider import DefaultJSONProvider

from flask_websockets import AsyncWebSocket, ConnectionClosed, WebSockets, WebSocketView
from flask_websockets.config import Config
from flask_websockets.errors import ConfigurationError
from flask_websockets.websocket import AbstractSocket, WebSocket, WebSocketState

KINDS = ["function", "class", "class without request", "async"]


def route(application, kind, steps, done):
    """A view of each kind that makes the same steps, which are coroutine functions of a websocket and,
    once there is one, a message. They await nothing but `result()`, so a view that does not wait can
    run them."""

    if kind == "async":

        @application.route("/ws")
        async def view(ws):
            done(await steps[0](ws))
            done(await steps[1](ws, await ws.receive()))

    elif kind == "function":

        @application.route("/ws")
        def view(ws):
            done(at_once(steps[0](ws)))
            done(at_once(steps[1](ws, ws.receive())))

    else:

        @application.route("/ws")
        class View(WebSocketView):
            context = "app" if kind == "class without request" else "request"

            def on_open(self, ws):
                done(at_once(steps[0](ws)))

            def on_message(self, ws, data):
                done(at_once(steps[1](ws, data)))
                ws.close()


def at_once(coroutine):
    """Run what never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def closes_with(client) -> int:
    opcode, payload = client.recv_data()
    while opcode != websocket.ABNF.OPCODE_CLOSE:
        opcode, payload = client.recv_data()
    return int.from_bytes(payload[:2], "big")


def test_its_modules_and_their_names():
    assert importlib.import_module("flask_websockets.websockets").WebSockets is WebSockets

    class Socket(AbstractSocket):
        def send(self, data): ...
        def recv(self, num_bytes=None): ...
        def close(self): ...

    assert isinstance(Socket(), AbstractSocket)
    with pytest.raises(TypeError, match="abstract"):
        AbstractSocket()
    assert WebSocketState.CONNECTED is WebSocketState.OPEN
    assert WebSocketState.DISCONNECTED is WebSocketState.CLOSED


def test_arguments_by_its_names_and_places(application):
    got = []

    @application.route(path="/ws", bp=None)
    def view(ws):
        with application.websockets.subscribe(ws=ws, channels=["news"]):
            got.append(ws.receive(timeout=0))
            ws.send(data="a")
            ws.send(data=b"b")
            ws.send_text(data="c")
            ws.send_bytes(data="d")
            ws.send_json(json_payload=[1])
            ws.send_msgpack(msgspec_payload=[2])
            for method in (ws.send, ws.send_text, ws.send_bytes):
                for arguments, named in (((), {}), (("x",), {"data": "x"}), ((), {"payload": "x"})):
                    with pytest.raises(
                        TypeError, match=rf"{method.__name__}\(\) takes one argument, data"
                    ):
                        method(*arguments, **named)
            got.append(application.websockets.publish([3], ["news"], True))
            got.append(application.websockets.publish([4], ["news"], False, True))
            got.append(application.websockets.publish(data="e", channels=["news"], encode_json=True))
            application.websockets.unsubscribe(ws=ws, channels=["news"])
        ws.close(code=4001, reason="done")

    client = application.serve().connect("/ws")
    sent = [client.recv_data() for _ in range(9)]
    text, binary = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY
    assert sent == [
        (text, b"a"), (binary, b"b"), (text, b"c"), (binary, b"d"),
        (text, b"[1]"), (binary, b"\x91\x02"), (text, b"[3]"), (binary, b"\x91\x04"), (text, b'"e"'),
    ]  # fmt: skip
    assert closes_with(client) == 4001
    assert got == [None, 1, 1, 1]


def test_both_websockets_name_their_arguments_alike():
    """A handler that becomes a coroutine needs `await`, and nothing else."""

    def names(method):
        return [name for name in inspect.signature(method).parameters if name != "self"]

    public = [name for name in dir(WebSocket) if not name.startswith("_")]
    assert public == [name for name in dir(AsyncWebSocket) if not name.startswith("_")]
    for name in public:
        if callable(getattr(WebSocket, name)):
            assert names(getattr(WebSocket, name)) == names(getattr(AsyncWebSocket, name)), name


def test_publish_before_init_app_reaches_nobody_and_raises_nothing():
    websockets = WebSockets()
    app = flask.Flask("x")
    assert websockets.publish({"a": 1}, ["news"], encode_json=True) == 0
    with app.app_context():
        assert websockets.publish("x", "news") == 0
    websockets.init_app(app)
    assert websockets.publish("x", "news") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_of_ones_own(application, kind):
    kept = []

    async def opened(ws):
        assert not any(type(item) is dict and item is not ws._environ for item in gc.get_referents(ws))
        ws.username = "joe"
        ws.itself = ws
        with pytest.raises(AttributeError):
            ws.state = WebSocketState.OPEN  # what is there already is not hidden by a mistake
        kept.append(weakref.ref(ws))

    async def called(ws, data):
        assert vars(ws) == {"username": "joe", "itself": ws}
        assert ws.data == {}
        ws.data = 5, ws  # this one is for the application, whatever it puts there
        assert ws.data == (5, ws)
        del ws.data
        assert ws.data == {}
        ws.data = ws
        with pytest.raises(AttributeError):
            ws.id = "mine"
        with pytest.raises(AttributeError):
            _ = ws.missing
        return ws.username + data

    seen = []
    route(application, kind, (opened, called), seen.append)
    client = application.serve().connect("/ws")
    client.send("!")
    assert closes_with(client) == 1000
    assert seen == [None, "joe!"]
    client.shutdown()
    wait_for(lambda: gc.collect() is not None and kept[0]() is None, what="the cycle to be freed")


@pytest.mark.parametrize("kind", KINDS)
def test_its_states(application, kind):
    """They agree: state, connected, closed."""

    def where(ws):
        assert ws.connected is not ws.closed
        return ws.state.name, ws.connected

    async def opened(ws):
        return where(ws), ws.state is WebSocketState.CONNECTED

    async def called(ws, data):
        before = where(ws)
        ws.close()
        assert "CONNECT" not in repr(ws)
        return before, where(ws), ws.state == WebSocketState.DISCONNECTED

    seen = []
    route(application, kind, (opened, called), seen.append)
    client = application.serve().connect("/ws")
    client.send("x")
    assert closes_with(client) == 1000
    assert seen == [
        (("OPEN", True), True),
        (("OPEN", True), ("CLOSED", False), True),
    ]


@pytest.mark.parametrize("asks", ["state", "connected"])
def test_a_loop_that_asks_first(application, asks):
    """The loop of 0.1.2's own iter_data(), and that of flask-sock."""

    @application.route("/ws")
    def view(ws):
        while ws.state == WebSocketState.CONNECTED if asks == "state" else ws.connected:
            data = ws.receive(timeout=0.05)
            if data == "end":
                ws.close(4000)
            elif data is not None:
                ws.send(data)

    client = application.serve().connect("/ws")
    for data in ("one", "two"):
        client.send(data)
        assert client.recv() == data
    client.send("end")
    assert closes_with(client) == 4000


def test_a_loop_that_asks_ends_when_the_handshake_was_refused(application):
    application.app.config.update(WEBSOCKETS_HANDSHAKE_TIMEOUT=0.2, WEBSOCKETS_ACCEPT_DELAY=60)
    ended = threading.Event()

    @application.route("/ws")
    def view(ws):
        while ws.connected:
            time.sleep(0.005)
        assert ws.closed and ws.state is WebSocketState.DISCONNECTED
        ended.set()

    given_away = []

    @application.route("/refused")
    def refused(ws):
        given_away.append(ws)
        assert ws.connected
        flask.abort(401)

    server = application.serve()
    for path, status in (("/ws", 503), ("/refused", 401)):
        with pytest.raises(websocket.WebSocketBadStatusException) as answer:
            server.connect(path)
        assert answer.value.status_code == status
    assert ended.wait(10)
    wait_for(lambda: given_away[0].closed, what="the refusal to be seen")
    assert given_away[0].state is WebSocketState.DISCONNECTED


@pytest.mark.parametrize("kind", KINDS)
def test_the_environment_of_the_handshake(application, kind):
    async def opened(ws):
        assert ws.environ["PATH_INFO"] == "/ws"
        return flask.request.environ is ws.environ

    async def called(ws, data):
        with application.app.test_request_context("/other"):  # another request is another one
            return ws.environ["HTTP_X_MINE"]

    seen = []

    async def called_without(ws, data):
        with pytest.raises(AttributeError, match='context = "app"'):
            _ = ws.environ
        return "mine"

    without = kind == "class without request"
    route(application, kind, (opened, called_without if without else called), seen.append)
    client = application.serve().connect("/ws", header=["X-Mine: mine"])
    client.send("x")
    assert closes_with(client) == 1000
    assert seen == [True, "mine"]


@pytest.mark.parametrize("first", ["iter_data", "iter_text", "iter_bytes", "iter_json"])
@pytest.mark.parametrize("kind", ["function", "async"])
def test_a_loop_that_is_left_loses_nothing(application, kind, first):
    """The first message logs in, another loop serves: and no message between them is lost. Returning
    closes the connection."""
    seen = []
    left = threading.Event()

    if kind == "function":

        @application.route("/ws")
        def view(ws):
            for data in getattr(ws, first)():
                seen.append(data)
                break
            left.set()
            ws.send("between")
            seen.append(ws.receive())
            for data in ws.iter_data():
                seen.append(data)
                break
            for data in ws.iter_text():
                seen.append(data)
                return

    else:

        @application.route("/ws")
        async def view(ws):
            async for data in getattr(ws, first)():
                seen.append(data)
                break
            left.set()
            await ws.send("between")
            seen.append(await ws.receive())
            async for data in ws.iter_data():
                seen.append(data)
                break
            async for data in ws.iter_text():
                seen.append(data)
                return

    client = application.serve().connect("/ws")
    (client.send_binary if first == "iter_bytes" else client.send)(b"1")
    for data in ("2", "3", "4", "5"):
        client.send(data)
    assert left.wait(10)
    assert client.recv() == "between"
    assert closes_with(client) == 1000
    assert seen == [{"iter_json": 1, "iter_bytes": b"1"}.get(first, "1"), "2", "3", "4"]


def test_the_end_of_the_connection_is_an_exception_in_receive(application):
    """In 0.1.2 receive() returned None for ever. What must happen at the end stands in `finally`."""
    ended = []

    @application.route("/ws")
    def view(ws):
        try:
            while ws.state == WebSocketState.CONNECTED:
                ws.receive(timeout=30)
        finally:
            ended.append(ws.close_code)

    client = application.serve().connect("/ws")
    client.send("x")
    client.close(4002)
    wait_for(lambda: ended == [4002], what=ended)


def test_accepting_in_an_ordinary_view_says_what_to_write(application):
    @application.app.route("/page", websocket=True)
    def page():
        with pytest.raises(TypeError, match=r"called on dict.*@websockets\.route\(path\)"):
            WebSocket.accept(flask.request.environ)
        return "refused", 409

    with pytest.raises(websocket.WebSocketBadStatusException) as answer:
        application.serve().connect("/page")
    assert answer.value.status_code == 409


def test_values_that_its_options_took():
    options = {"subprotocols": {"a"}, "max_message_size": 1e6, "ping_interval": None}
    config = Config.from_mapping({"SOCK_SERVER_OPTIONS": options, "WEBSOCKETS_RECEIVE_QUEUE": 8.0})
    assert (config.subprotocols, config.receive_queue, config.ping_interval) == (("a",), 8, 0)
    assert config.max_message_size == 1_000_000 and type(config.max_message_size) is int
    for value in (1.5, float("inf"), float("nan"), "1"):
        says = r"'max_message_size'\] must be an int \(bytes\), not"
        with pytest.raises(ConfigurationError, match=says):
            Config.from_mapping({"SOCK_SERVER_OPTIONS": {"max_message_size": value}})


class Colour(enum.Enum):
    RED = "red"


def test_the_json_provider_that_changes_names_writes_what_msgspec_wrote(application):
    class JSON(DefaultJSONProvider):
        default = staticmethod(msgspec.to_builtins)

    application.app.json = JSON(application.app)
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    values = [{1}, b"abc", Colour.RED, moment]

    @application.route("/ws")
    def view(ws):
        for value in values:
            ws.send_json(value)
        application.websockets.subscribe(ws, "news")
        application.websockets.publish(values, "news", True)

    client = application.serve().connect("/ws")
    assert [msgspec.json.decode(client.recv()) for _ in values] == [
        msgspec.json.decode(msgspec.json.encode(value)) for value in values
    ]
    assert client.recv() == flask.json.dumps([[1], "YWJj", "red", "2024-01-02T03:04:05Z"])


def test_a_runtime_error_of_the_handler_is_reported(application, caplog):
    """0.1.2 passed over all of them, and left the connection open; ConnectionClosed is one still."""
    assert issubclass(ConnectionClosed, RuntimeError)

    @application.route("/ws")
    def view(ws):
        ws.send("x")
        raise RuntimeError("mine")

    client = application.serve().connect("/ws")
    assert client.recv() == "x"
    assert closes_with(client) == 1011
    assert "RuntimeError: mine" in caplog.text
