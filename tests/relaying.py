"""An application behind TLS that its server ends itself, so that the relay carries its websockets."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time

import flask
import pytest
import wire
from conftest import wait_for
from werkzeug.serving import make_server

from flask_websockets import WebSockets
from flask_websockets.tls import relay

SNAPSHOT = bytes(2 << 20)


class Server:
    """An application behind TLS, in a thread of the tests."""

    def __init__(self, authority, **configuration):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.context, certificate = authority
        self.app = flask.Flask("relayed")
        self.app.config.update({f"WEBSOCKETS_{key}": value for key, value in configuration.items()})
        websockets = WebSockets(self.app)

        @websockets.route("/echo")
        def echo(ws):
            for data in ws.iter_data():
                ws.send(data)

        @websockets.route("/flood")
        def flood(ws):
            while True:
                ws.send(b"x" * 100_000)

        @websockets.route("/snapshot")
        def snapshot(ws):
            ws.send(SNAPSHOT)

        self.runtime = self.app.extensions["flask_websockets.runtime"]
        self.http = make_server("127.0.0.1", 0, self.app, threaded=True, ssl_context=certificate)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.connections: list[socket.socket] = []

    def connect(self, path: str) -> ssl.SSLSocket:
        connection = self.handshake(path)
        assert wire.read_head(connection).startswith("HTTP/1.1 101")
        return connection

    def handshake(self, path: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.http.server_port), timeout=20)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection = self.context.wrap_socket(plain, server_hostname="localhost")
        self.connections.append(connection)
        connection.sendall(wire.request(self.http.server_port, path))
        return connection

    def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        self.runtime.shut_down()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        wait_for(lambda: self.runtime._handlers == 0)
        wait_for(lambda: not relay.relay()._connections, what="the relay to be empty")


@pytest.fixture
def serve_tls(authority):
    started = []

    def start(**configuration) -> Server:
        started.append(Server(authority, **{"CLOSE_TIMEOUT": 1, **configuration}))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def exchange(connection: ssl.SSLSocket, data: bytes, size: int) -> bytes:
    """Send as fast as the peer takes it, and read as fast as it comes, in one thread: an SSL object is
    not for two."""
    connection.settimeout(0)
    unsent, received = memoryview(data), bytearray()
    deadline = time.monotonic() + 20
    while len(received) < size:
        assert time.monotonic() < deadline, (len(unsent), len(received))
        if unsent:
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                unsent = unsent[connection.send(unsent[:65536]) :]
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            received += connection.recv(65536)
    return bytes(received)
