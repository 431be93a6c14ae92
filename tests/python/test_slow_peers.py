"""Peers that read slowly, or not at all, as each kind of view has them. What the C tests show of one
connection is not repeated here; this is that no view is an exception."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

import pytest
import wire
from conftest import wait_for

from flask_websockets import WebSocketView

KINDS = ["function", "class", "async"]
PIECE = 65536


@pytest.fixture
def downloads(application):
    """An application with a view of each kind, which answers a message with so many pieces."""
    closed = application.closed = []

    @application.route("/function/<int:pieces>")
    def function(ws, pieces):
        try:
            for _ in ws.iter_data():
                for number in range(pieces):
                    ws.send(number.to_bytes(4, "big") * (PIECE // 4))
                ws.close(4000)
        finally:
            closed.append(ws.close_code)

    @application.route("/class/<int:pieces>")
    class View(WebSocketView):
        def on_open(self, ws, pieces):
            self.pieces = pieces

        def on_message(self, ws, data):
            for number in range(self.pieces):
                ws.send(number.to_bytes(4, "big") * (PIECE // 4))
            ws.close(4000)

        def on_close(self, ws, code, reason):
            closed.append(code)

    @application.route("/async/<int:pieces>")
    async def coroutine(ws, pieces):
        try:
            async for _ in ws:
                for number in range(pieces):
                    await ws.send(number.to_bytes(4, "big") * (PIECE // 4))
                ws.close(4000)
        finally:
            closed.append(ws.close_code)

    def serve(**settings):
        application.app.config["WEBSOCKETS_COMPRESSION"] = False
        for key, value in settings.items():
            application.app.config[f"WEBSOCKETS_{key}"] = value
        return application.serve()

    return serve


def connect(server, path):
    """With a small buffer, so that the server notices what is not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(wire.request(server.port, path))
    assert wire.read_head(connection).startswith("HTTP/1.1 101")
    return connection


def download(connection, pieces, bytes_a_second, answer_pings=True):
    """Read at this rate; returns the code of the close frame, which has to come after all pieces."""
    received, begun, total = bytearray(), time.monotonic(), 0

    def read(size):
        nonlocal total
        while len(received) < size:
            data = connection.recv(8192)
            assert data, "the stream ended early"
            received.extend(data)
            total += len(data)
            time.sleep(max(0.0, total / bytes_a_second - (time.monotonic() - begun)))
        data = bytes(received[:size])
        del received[:size]
        return data

    count = 0
    while True:
        opcode, size = read(2)
        if size >= 126:
            (size,) = struct.unpack(*((">H", read(2)) if size == 126 else (">Q", read(8))))
        payload = read(size)
        if opcode == 0x89 and answer_pings:
            connection.sendall(wire.frame(10, payload))
        elif opcode == 0x82:
            assert payload == count.to_bytes(4, "big") * (PIECE // 4)
            count += 1
        elif opcode == 0x88:
            assert count == pieces
            return int.from_bytes(payload[:2], "big")


@pytest.mark.parametrize("kind", KINDS)
def test_a_steady_download_outlasts_every_timeout(downloads, application, kind):
    server = downloads(PING_INTERVAL=0.5, PING_TIMEOUT=0.5, CLOSE_TIMEOUT=0.5, SEND_TIMEOUT=2)
    with connect(server, f"/{kind}/50") as connection:
        connection.sendall(wire.frame(1, b"go"))
        begun = time.monotonic()
        assert download(connection, 50, 1_000_000) == 4000
        assert time.monotonic() - begun > 2.5
        connection.sendall(wire.frame(8, b"\x0f\xa0"))
        assert connection.recv(1) == b""
    wait_for(lambda: application.closed == [4000])


@pytest.mark.parametrize("kind", KINDS)
def test_who_takes_nothing_and_says_nothing_is_1011(downloads, application, kind):
    server = downloads(PING_INTERVAL=0.5, PING_TIMEOUT=0.5)
    with connect(server, f"/{kind}/400") as connection:  # 26 MB
        connection.sendall(wire.frame(1, b"go"))
        wait_for(lambda: application.closed == [1011], 5)


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_close_while_it_is_sent_to(application, kind, fin):
    """The message under way is finished, then comes our close frame, then the end."""
    size = 6 << 20
    application.app.config["WEBSOCKETS_COMPRESSION"] = False

    @application.route("/function")
    def function(ws):
        for _ in ws.iter_data():
            ws.send(bytes(size))

    @application.route("/class")
    class View(WebSocketView):
        def on_message(self, ws, data):
            ws.send(bytes(size))

    @application.route("/async")
    async def coroutine(ws):
        async for _ in ws:
            await ws.send(bytes(size))

    with connect(application.serve(), f"/{kind}") as connection:
        connection.sendall(wire.frame(1, b"go"))
        time.sleep(0.3)
        connection.sendall(wire.frame(8, b"\x03\xe8"))
        if fin:
            connection.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
        assert wire.read_frame(connection) == (0x82, bytes(size))
        assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_own_close_nothing_is_given_out(application, kind):
    given_out, ended = [], threading.Event()

    @application.route("/function")
    def function(ws):
        for data in ws.iter_data():
            given_out.append(data)
            time.sleep(0.2)  # the others have come meanwhile
            ws.close()
        ended.set()

    @application.route("/class")
    class View(WebSocketView):
        def on_message(self, ws, data):
            given_out.append(data)
            time.sleep(0.2)
            ws.close()

        def on_close(self, ws, code, reason):
            ended.set()

    @application.route("/async")
    async def coroutine(ws):
        async for data in ws:
            given_out.append(data)
            time.sleep(0.2)
            ws.close()
        ended.set()

    with connect(application.serve(), f"/{kind}") as connection:
        connection.sendall(b"".join(wire.frame(1, b"%d" % number) for number in range(5)))
        assert ended.wait(5)
        assert given_out == ["0"]


def test_echo_peers_that_do_not_read_hold_no_thread(application):
    """More of them than there are threads for callbacks."""
    application.app.config["WEBSOCKETS_CALLBACK_THREADS"] = 2
    application.app.config["WEBSOCKETS_COMPRESSION"] = False
    closed = []

    @application.route("/echo")
    class Echo(WebSocketView):
        def on_message(self, ws, data):
            ws.send(data)

        def on_close(self, ws, code, reason):
            closed.append(code)

    server = application.serve()
    with contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(connect(server, "/echo")) for _ in range(8)]
        good = stack.enter_context(wire.connect(server.port, "/echo"))
        echoed = wire.frame(2, bytes(PIECE)) * 40
        for connection in deaf:
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while True:
                    connection.sendall(echoed)
        begun = time.monotonic()
        good.sendall(wire.frame(1, b"still there?"))
        assert wire.read_frame(good) == (0x81, b"still there?")
        assert time.monotonic() - begun < 1
        # One reads on: what it gets is whole and in order.
        deaf[0].settimeout(20)
        for _ in range(40):
            assert wire.read_frame(deaf[0]) == (0x82, bytes(PIECE))
    wait_for(lambda: len(closed) == 9)
