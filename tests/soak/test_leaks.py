"""Many connections through one server: nothing may be left of them. FWS_SOAK_ROUNDS sets how many
rounds (10,000; `make soak`: 200,000)."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable

import pytest
from conftest import wait_for
from processes import descriptors, resident_bytes, thread_ids

from flask_websockets import WebSocket

ROUNDS = int(os.environ.get("FWS_SOAK_ROUNDS", "10000"))
WORKERS = 4
#: Of the process, once it serves: the server's accept loop, the engine's loop.
OWN_THREADS = 2

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"


def connect_echo_disconnect(port: int, polite: bool) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(HANDSHAKE + HELLO)
        answer = b""
        while not answer.endswith(b"\x81\x05hello"):
            more = connection.recv(4096)
            assert more, answer
            answer += more
        if polite:
            connection.sendall(CLOSE)
            rest = b""
            while more := connection.recv(4096):
                rest += more
            assert rest == b"\x88\x02\x03\xe8"


def rounds(port: int, count: int, failures: list) -> None:
    try:
        for i in range(count):
            connect_echo_disconnect(port, polite=i % 4 != 0)
    except BaseException as error:
        failures.append(error)


def run(port: int, total: int, progress: Callable[[str], None]) -> None:
    failures: list = []
    workers = [
        threading.Thread(target=rounds, args=(port, total // WORKERS, failures)) for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(1)
            progress(f"{total} connections are opened and closed")
    assert failures == []


def live() -> int:
    gc.collect()
    return sum(issubclass(type(thing), WebSocket) for thing in gc.get_objects())


@pytest.mark.timeout(60 + ROUNDS // 50)
def test_nothing_is_left_after_many_rounds(application, progress):
    @application.route("/ws")
    def echo(ws):
        with application.websockets.subscribe(ws, ["all", ws.id]):
            for data in ws.iter_data():
                ws.send(data)

    pid = os.getpid()
    others = thread_ids(pid)  # as of earlier tests, some of which stay for all of the process
    server = application.serve()
    runtime = application.app.extensions["flask_websockets.runtime"]

    def settled():
        return (
            runtime._handlers == 0
            and application.websockets.stats()["connections"] == 0
            and len(thread_ids(pid) - others) == OWN_THREADS
        )

    run(server.port, 400, progress)  # what is made once is made here
    wait_for(settled)
    gc.collect()  # what earlier tests have left; it would be freed meanwhile, with its descriptors
    before = descriptors(pid), live(), sys.getrefcount(runtime)
    memory = resident_bytes(pid)
    run(server.port, ROUNDS, progress)
    wait_for(settled)
    gc.collect()
    assert (descriptors(pid), live(), sys.getrefcount(runtime)) == before
    assert application.websockets.publish("x", "all") == 0
    assert resident_bytes(pid) - memory < 16 * 1024 * 1024
