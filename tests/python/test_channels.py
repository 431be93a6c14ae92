"""Channels: subscribe, unsubscribe, publish."""

from __future__ import annotations

import threading
import time
import urllib.request

import pytest
from conftest import wait_for

from flask_websockets import ConnectionClosed


@pytest.fixture
def server(application):
    """Clients subscribe to the channels in their URL and are told when they are."""

    @application.route("/<path:names>")
    def listen(ws, names):
        with application.websockets.subscribe(ws, names.split("/")):
            ws.send("ready")
            for _ in ws.iter_data():
                pass

    return application.serve()


def listener(server, names):
    client = server.connect("/" + names)
    assert client.recv() == "ready"
    return client


def nothing_more(client):
    client.settimeout(0.05)
    with pytest.raises(Exception, match="timed out"):
        client.recv()
    client.settimeout(10)


def test_a_websocket_in_two_of_the_channels_gets_it_once(server):
    both, one = listener(server, "a/b"), listener(server, "b")
    assert server.websockets.publish("x", ["a", "b"]) == 2
    assert server.websockets.publish("y", "a") == 1
    assert server.websockets.publish("z", ["nobody"]) == 0
    assert [both.recv(), both.recv(), one.recv()] == ["x", "y", "x"]
    nothing_more(both)
    nothing_more(one)


def test_a_str_is_one_name_and_not_letters(server):
    listener(server, "a")
    client = listener(server, "abc")
    assert server.websockets.publish("x", "abc") == 1
    assert client.recv() == "x"


def test_what_can_be_published(server):
    client = listener(server, "a")
    publish = server.websockets.publish
    publish(b"\0", "a")
    publish(bytearray(b"\1"), "a")
    publish({"x": 1}, "a", encode_json=True)
    publish([1], "a", encode_msgpack=True)
    assert client.recv_data() == (2, b"\0")
    assert client.recv_data() == (2, b"\1")
    assert client.recv_data() == (1, b'{"x": 1}')
    assert client.recv_data() == (2, b"\x91\x01")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ((1, "a"), {}, TypeError, "publish() takes str or a bytes-like object, not int"),
        (("x", 5), {}, TypeError, "channels must be a str or an iterable of str, not int"),
        (("x", b"a"), {}, TypeError, "not bytes"),
        (("x", ["a", 1]), {}, TypeError, "channel names are str, not int"),
        (("x", ""), {}, ValueError, "must not be empty"),
        (("x", "ä" * 128), {}, ValueError, "at most 255 bytes"),
        (("x", "a"), {"exclude": 5}, TypeError, "exclude must be"),
        (("x", "a"), {"exclude": [None]}, TypeError, "each item of exclude"),
        (("x", "a"), {"encode_json": True, "encode_msgpack": True}, ValueError, "exclude each other"),
        (({1}, "a"), {"encode_json": True}, TypeError, "not JSON serializable"),
    ],
)
def test_bad_arguments_of_publish_are_named_and_nothing_is_sent(
    server, arguments, options, error, says
):
    client = listener(server, "a")
    with pytest.raises(error) as raised:
        server.websockets.publish(*arguments, **options)
    assert says in str(raised.value)
    nothing_more(client)


def test_a_name_of_255_bytes_is_the_longest(server):
    assert server.websockets.publish("x", "ä" * 127 + "a") == 0


def test_publishing_from_an_ordinary_view_and_without_a_context(application):
    @application.app.route("/publish")
    def publish():
        return str(application.websockets.publish("from a view", "a"))

    @application.route("/<name>")
    def listen(ws, name):
        with application.websockets.subscribe(ws, name):
            ws.send("ready")
            time.sleep(0.3)  # only sleeps, and still gets what is published
            ws.receive()

    server = application.serve()
    client = listener(server, "a")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/publish", timeout=5) as answer:
        assert answer.read() == b"1"
    assert client.recv() == "from a view"


def test_exclude(application):
    @application.route("/ws")
    def chat(ws):
        with application.websockets.subscribe(ws, "chat"):
            ws.send("ready")
            for data in ws.iter_data():
                count = application.websockets.publish(data, "chat", exclude=ws)
                ws.send(str(count))

    server = application.serve()
    first, second = listener(server, "ws"), listener(server, "ws")
    first.send("hello")
    assert first.recv() == "1"
    assert second.recv() == "hello"
    everyone = list(application.websockets.connections)
    assert len(everyone) == 2
    assert application.websockets.publish("x", "chat", exclude=everyone) == 0


def test_unsubscribe_some_and_all(application):
    seen = []

    @application.route("/ws")
    def ws_(ws):
        websockets = application.websockets
        subscription = websockets.subscribe(ws, ["a", "b", "c"])
        seen.append(sorted(ws.channels))
        websockets.unsubscribe(ws, "a")
        websockets.unsubscribe(ws, ["never"])
        seen.append(sorted(ws.channels))
        subscription.unsubscribe()
        seen.append(ws.channels)
        websockets.subscribe(ws, ["x", "y"])
        websockets.unsubscribe(ws)
        seen.append(ws.channels)
        seen.append(subscription.channels)

    application.serve().connect("/ws").recv_data()
    wait_for(lambda: len(seen) == 5)
    assert seen == [["a", "b", "c"], ["b", "c"], [], [], ("a", "b", "c")]


@pytest.mark.parametrize("names", [["ok", ""], ["ok", 5], b"ok", 5])
def test_bad_names_subscribe_to_nothing(application, names):
    seen = []

    @application.route("/ws")
    def ws_(ws):
        with pytest.raises((TypeError, ValueError)):
            application.websockets.subscribe(ws, names)
        with pytest.raises(TypeError):
            application.websockets.subscribe("no websocket", "a")
        ws.accept()
        seen.append(ws.channels)

    application.serve().connect("/ws").recv_data()
    wait_for(lambda: seen == [[]])


def test_what_is_said_of_wrong_arguments(application):
    websockets, seen = application.websockets, []

    @application.route("/ws")
    def ws_(ws):
        no_names = "channels must be a str or an iterable of str, not"
        for call, text in (
            (lambda: websockets.subscribe("room", ws), r"subscribe\(ws, channels\) .* here str comes"),
            (lambda: websockets.unsubscribe("room", ws), r"unsubscribe\(ws, channels\) takes the"),
            (lambda: websockets.subscribe(None, "room"), "ws must be a WebSocket, not None"),
            (lambda: websockets.subscribe(ws, None), f"{no_names} None"),
            (lambda: websockets.subscribe(ws, b"room"), f"{no_names} bytes"),
            (lambda: websockets.subscribe(ws, 5), f"{no_names} int"),
            (lambda: websockets.publish(["room"], "data"), "not list .* the message comes first"),
            (lambda: websockets.publish({"a": 1}, "room"), "not dict .any value with encode_json=True"),
            (lambda: websockets.publish(None, "room"), "not None"),
            (lambda: websockets.publish(ws, "data"), "no websocket: ws.send.data. sends to one"),
            (lambda: websockets.publish("data", ws), "exclude=ws leaves one out"),
            (lambda: websockets.publish("data", None), f"{no_names} None"),
            (lambda: websockets.publish("data", [5]), "channel names are str, not int"),
        ):
            with pytest.raises(TypeError, match=text):
                call()
        seen.append(ws.channels)

    application.serve().connect("/ws").recv_data()
    wait_for(lambda: seen == [[]])


def test_a_handler_that_raises_or_returns_inside_leaves_nothing_subscribed(application, caplog):
    @application.route("/raise")
    def raises(ws):
        application.websockets.subscribe(ws, "a")  # not even with a with statement
        raise KeyError

    @application.route("/return")
    def returns(ws):
        application.websockets.subscribe(ws, "a")

    server = application.serve()
    for path in ("/raise", "/return"):
        server.connect(path).recv_data()
        wait_for(lambda: application.websockets.publish("x", "a") == 0)


def test_subscribing_a_closed_websocket_raises(application):
    outcome = []

    @application.route("/ws")
    def ws_(ws):
        ws.close(4000)
        with pytest.raises(ConnectionClosed) as raised:
            application.websockets.subscribe(ws, "a")
        outcome.append(raised.value.code)

    application.serve().connect("/ws").recv_data()
    wait_for(lambda: outcome == [4000])


def test_one_slow_reader_holds_up_nobody_and_is_closed_with_1013(server):
    slow, quick = listener(server, "a"), listener(server, "a")
    data = b"x" * 100_000
    longest, received = 0.0, []
    reader = threading.Thread(target=lambda: received.extend(quick.recv() for _ in range(300)))
    reader.start()
    for _ in range(300):
        begun = time.monotonic()
        server.websockets.publish(data, "a")
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.001)
    reader.join(20)
    assert len(received) == 300 and longest < 0.5
    wait_for(lambda: len(server.websockets.connections) == 1)
    assert server.websockets.stats()["slow_consumers"] == 1
    slow.settimeout(20)
    opcode, payload = slow.recv_data()
    while opcode != 8:
        opcode, payload = slow.recv_data()
    assert payload == (1013).to_bytes(2, "big") + b"slow consumer"


def test_several_apps_each_have_their_own_channels(application):
    import flask

    from flask_websockets import WebSockets

    other = WebSockets(flask.Flask("other"))

    @application.route("/ws")
    def ws_(ws):
        with application.websockets.subscribe(ws, "a"):
            ws.send("ready")
            ws.receive()

    listener(application.serve(), "ws")
    assert other.publish("x", "a") == 0
    assert application.websockets.publish("x", "a") == 1


def test_nested_blocks_of_the_same_channel(application):
    @application.route("/ws")
    def nested(ws):
        websockets = application.websockets
        with websockets.subscribe(ws, ["room", "all", "room"]):
            with websockets.subscribe(ws, ["room", "extra"]):
                ws.send(" ".join(ws.channels))
            ws.send(" ".join(ws.channels))
            assert websockets.publish("to room", "room") == 1
        ws.send(" ".join(ws.channels) + "nothing")

    client = application.serve().connect("/ws")
    assert [client.recv() for _ in range(4)] == ["room all extra", "room all", "to room", "nothing"]


def test_the_channels_of_a_websocket_that_has_closed(application):
    seen = []

    @application.route("/ws")
    def listen(ws):
        application.websockets.subscribe(ws, ["a", "b"])
        try:
            for _ in ws.iter_data():
                pass
        finally:
            seen.append((ws.channels, application.websockets.publish("gone", ws.channels)))
            application.websockets.unsubscribe(ws, "a")
            seen.append(ws.channels)

    client = application.serve().connect("/ws")
    client.send("x")
    client.close()
    wait_for(lambda: len(seen) == 2)
    assert seen == [(["a", "b"], 0), ["b"]]


def test_what_is_published_comes_before_what_the_same_thread_does_next(application):
    @application.route("/ws")
    def chat(ws):
        websockets = application.websockets
        websockets.subscribe(ws, ["room"])
        for number in range(100):
            websockets.publish(f"published {number}", "room")
            ws.send(f"sent {number}")
        websockets.publish("last", "room")
        websockets.unsubscribe(ws, "room")
        websockets.publish("too late", "room")
        ws.send("end")

    client = application.serve().connect("/ws")
    wanted = [f"{what} {number}" for number in range(100) for what in ("published", "sent")]
    assert [client.recv() for _ in range(202)] == [*wanted, "last", "end"]


def test_very_many_names_in_one_call(application):
    names = [f"room {number}" for number in range(20_000)]

    @application.route("/ws")
    def listen(ws):
        websockets = application.websockets
        websockets.subscribe(ws, names)
        assert ws.channels == names
        assert websockets.publish("once", names) == 1
        websockets.unsubscribe(ws, names[1:])
        ws.send(" ".join(ws.channels))

    client = application.serve().connect("/ws")
    assert [client.recv(), client.recv()] == ["once", "room 0"]


def test_a_publisher_in_a_loop_cannot_fill_the_memory(server):
    """Far more than the engine keeps undelivered: whoever publishes delivers, and nothing is lost."""
    client = listener(server, "a")
    received = []

    def read():
        while len(received) < 5000:
            received.append(client.recv())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(5000):
        assert server.websockets.publish(str(number), "a") == 1
    reader.join(30)
    assert received == [str(number) for number in range(5000)]
