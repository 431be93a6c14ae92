"""permessage-deflate in an application: what is negotiated, and what goes over the wire."""

from __future__ import annotations

import socket

import pytest
import websockets.sync.client
import wire
from conftest import wait_for
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

TEXT = '{"id": 17, "name": "a name", "tags": ["one", "two"]}' * 20


def echo_on(application):
    @application.route("/ws")
    def echo(ws):
        with application.websockets.subscribe(ws, "all"):
            for data in ws.iter_data():
                ws.send(data)

    return application.serve()


def negotiated(server, offer):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(wire.request(server.port, "/ws", f"Sec-WebSocket-Extensions: {offer}\r\n"))
        for line in wire.read_head(connection).split("\r\n"):
            if line.lower().startswith("sec-websocket-extensions: "):
                return line.split(": ", 1)[1]
    return None


@pytest.mark.parametrize(
    ("setting", "offer", "answer"),
    [
        (
            True,
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (False, "permessage-deflate", None),
        (True, "x-unknown", None),
        ({"context_takeover": True}, "permessage-deflate", "permessage-deflate"),
        (
            {"context_takeover": True, "server_max_window_bits": 11, "client_max_window_bits": 10},
            "permessage-deflate; client_max_window_bits=12",
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits=10",
        ),
        (
            {"context_takeover": True},
            "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=8",
        ),
    ],
)
def test_what_is_negotiated(application, setting, offer, answer):
    application.app.config["WEBSOCKETS_COMPRESSION"] = setting
    assert negotiated(echo_on(application), offer) == answer


@pytest.mark.parametrize("setting", [True, False])
def test_a_malformed_list_of_extensions_is_400(application, setting):
    application.app.config["WEBSOCKETS_COMPRESSION"] = setting
    server = echo_on(application)
    more = "Sec-WebSocket-Extensions: permessage-deflate;;\r\n"
    answer = server.request(wire.request(server.port, "/ws", more).decode().replace("\r\n", "\n"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"not a list of extensions" in answer


@pytest.mark.parametrize(
    ("setting", "factory"),
    [
        (True, ClientPerMessageDeflateFactory()),
        (True, ClientPerMessageDeflateFactory(False, False, 9, 9)),
        ({"context_takeover": True}, ClientPerMessageDeflateFactory()),
        ({"context_takeover": True}, ClientPerMessageDeflateFactory(True, False, 10, 12)),
        ({"context_takeover": True, "level": 9, "threshold": 0}, ClientPerMessageDeflateFactory()),
        (False, ClientPerMessageDeflateFactory()),
    ],
)
def test_messages_both_ways_with_another_implementation(application, setting, factory):
    application.app.config["WEBSOCKETS_COMPRESSION"] = setting
    server = echo_on(application)
    with websockets.sync.client.connect(
        server.url("/ws"), compression=None, extensions=[factory], max_size=None
    ) as client:
        assert bool(client.protocol.extensions) == (setting is not False)
        for size in (0, 1, 100, 5000, 200_000):
            for message in ((TEXT * 200)[:size], (TEXT * 200)[:size].encode()):
                client.send(message)
                assert client.recv(timeout=10) == message
                assert application.websockets.publish(message, "all") == 1
                assert client.recv(timeout=10) == message


def test_what_is_compressed_and_what_is_not(application):
    @application.route("/ws")
    def send_both(ws):
        ws.send("x" * 127)
        ws.send("x" * 128)
        ws.send(bytes(range(256)))
        ws.receive()

    server = application.serve()
    with wire.connect(server.port, "/ws", wire.DEFLATE) as connection:
        assert wire.read_frame(connection) == (0x81, b"x" * 127)  # below the threshold
        first, payload = wire.read_frame(connection)
        assert first == 0xC1 and len(payload) < 20
        assert wire.read_frame(connection)[0] == 0x82  # compression wins nothing
    with wire.connect(server.port, "/ws") as connection:  # not offered
        assert [wire.read_frame(connection)[0] for _ in range(3)] == [0x81, 0x81, 0x82]


def test_a_publication_reaches_both_kinds_of_clients(application):
    server = echo_on(application)
    with (
        wire.connect(server.port, "/ws", wire.DEFLATE) as one,
        wire.connect(server.port, "/ws") as other,
    ):
        wait_for(lambda: len(application.websockets.connections) == 2)
        wait_for(lambda: application.websockets.publish(TEXT, "all") == 2)
        first, payload = wire.read_frame(one)
        while first != 0xC1:
            first, payload = wire.read_frame(one)
        assert len(payload) < len(TEXT) / 4
        assert wire.read_frame(other) == (0x81, TEXT.encode())


def test_a_broken_stream_is_1007_with_words(application):
    server = echo_on(application)
    with wire.connect(server.port, "/ws", wire.DEFLATE) as connection:
        connection.sendall(wire.frame(1, b"\xff\xff\xff", compressed=True))
        assert wire.read_close(connection) == (1007, "compressed message is not a DEFLATE stream")


def test_compression_that_was_not_agreed_on_is_1002(application):
    server = echo_on(application)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, wire.compressed(b"Hello"), compressed=True))
        code, reason = wire.read_close(connection)
        assert code == 1002 and "reserved bits" in reason
