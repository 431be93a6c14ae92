"""A WebSocket client on our engine, in the client's role: what the Autobahn test suite's fuzzing server
is run against. The opening handshake is done here; all that follows is the core's."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket

from flask_websockets import ConnectionClosed
from flask_websockets._core import Descriptor, Engine, WebSocket, confirm, offer

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: No limits of our own: context may be taken over, the server may choose the windows.
OFFERED = (False, False, 15, 15)


class ClientWebSocket(WebSocket):
    """What the core expects of its users, as far as a client needs it."""

    def _closed_error(self, code: int, reason: str, /) -> ConnectionClosed:
        return ConnectionClosed(code, reason)


def make_engine() -> Engine:
    return Engine(
        ping_interval=0,
        ping_timeout=0,
        close_timeout=5,
        send_timeout=30,
        max_message_size=32 * 1024 * 1024,
        max_fragments=0,
        max_message_rate=0,
        receive_queue=16,
        send_buffer=1024 * 1024,
        slow_consumer="close",
        compression_level=3,
        compression_threshold=0,
        callback_threads=1,
    )


def connect(engine: Engine, port: int, path: str) -> WebSocket:
    """Open a connection.

    :raises ConnectionError: when the server's answer is not the handshake's.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Extensions: {offer(OFFERED)}",
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = connection.recv(4096)
        if not more:
            raise ConnectionError("the server did not answer the handshake")
        answer += more
    head, _, received = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    digest = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    if " 101 " not in status + " " or headers.get("sec-websocket-accept") != digest:
        raise ConnectionError(f"the server refused the handshake: {status}")
    compression = confirm(headers.get("sec-websocket-extensions", ""), OFFERED)
    ws = ClientWebSocket()
    with connection:
        engine.attach(ws, Descriptor(connection), b"", received, compression=compression, client=True)
    return ws


def echo_until_closed(ws: WebSocket) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            ws.send(ws.receive())


def receive_one(engine: Engine, port: int, path: str) -> str:
    ws = connect(engine, port, path)
    message = ws.receive(20)
    with contextlib.suppress(ConnectionClosed):
        ws.receive(20)  # the server closes
    return message
