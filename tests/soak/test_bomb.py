"""Messages that are small on the wire and huge when decompressed."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
import zlib

import pytest
import wire
from processes import cpu_nanoseconds, peak_bytes, reset_peak, resident_bytes

CONNECTIONS = 1000

APP = """
import logging
from flask import Flask
from flask_websockets import WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
app.config["WEBSOCKETS_PING_INTERVAL"] = 0  # the neighbour expects echoes alone
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)

app.run(host="127.0.0.1", port=PORT)
"""


def zeros(size: int) -> bytes:
    """10 MiB of this are 10 GiB of zeros; made by repeating a block, which refers to itself alone."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = compressor.compress(bytes(16 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return (piece * (size // len(piece) + 1))[:size]


def fragments(payload: bytes, size: int) -> bytes:
    return b"".join(
        wire.frame(0 if at else 2, payload[at : at + size], final=False, compressed=at == 0)
        for at in range(0, len(payload), size)
    )


def explode(port: int, bomb: bytes) -> tuple[int, str]:
    """How a connection that sends it is closed."""
    with wire.connect(port, "/echo", wire.DEFLATE) as connection:
        return throw(connection, bomb)


def throw(connection, bomb: bytes) -> tuple[int, str]:
    def send():
        with contextlib.suppress(OSError):  # it is refused before it is read
            connection.sendall(bomb)

    sender = threading.Thread(target=send)
    sender.start()
    outcome = wire.read_close(connection)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes the sender
    sender.join()
    connection.close()
    return outcome


def test_ten_gib_of_zeros_cost_next_to_nothing(program):
    server = program(APP)
    pid = server.process.pid
    bomb = zeros(10 << 20)
    whole = wire.head(2, len(bomb), compressed=True) + bomb
    for name, data, reason in (
        ("one frame", whole, "message too big"),
        ("fragments of 64 KiB", fragments(bomb, 65536), "message too big after decompression"),
        (
            "fragments of 100 bytes",
            fragments(bomb[: 1 << 20], 100),
            "message too big after decompression",
        ),
    ):
        assert explode(server.port, data) == (1009, reason)  # what is made once is made here
        connection = wire.connect(server.port, "/echo", wire.DEFLATE)
        memory, cpu = resident_bytes(pid), cpu_nanoseconds(pid)
        reset_peak(pid)
        assert throw(connection, data) == (1009, reason)
        cpu = cpu_nanoseconds(pid) - cpu
        memory = peak_bytes(pid) - memory
        print(f"\n{name}: {memory / 1024:.0f} KiB of memory, {cpu / 1e6:.1f} ms of CPU", end="")
        assert memory < 2 << 20
        assert cpu < 50e6


@pytest.mark.timeout(180)
def test_a_thousand_of_them_do_not_disturb_a_neighbour(program, progress):
    server = program(APP)
    bomb = fragments(zeros(10 << 20), 65536)
    outcomes: list[tuple[int, str]] = []
    latencies: list[float] = []
    finished = threading.Event()

    def attack() -> None:
        for _ in range(CONNECTIONS // 4):
            outcomes.append(explode(server.port, bomb))

    def neighbour() -> None:
        with wire.connect(server.port, "/echo") as connection:
            while not finished.is_set():
                begun = time.perf_counter()
                connection.sendall(wire.frame(1, b"hello"))
                assert wire.read_frame(connection) == (0x81, b"hello")
                latencies.append(time.perf_counter() - begun)
                time.sleep(0.002)

    attackers = [threading.Thread(target=attack) for _ in range(4)]
    witness = threading.Thread(target=neighbour)
    witness.start()
    for thread in attackers:
        thread.start()
    for thread in attackers:
        while thread.is_alive():
            thread.join(1)
            progress(f"{len(outcomes)} of {CONNECTIONS} bombs")
    finished.set()
    witness.join()
    assert outcomes == [(1009, "message too big after decompression")] * CONNECTIONS
    p99 = statistics.quantiles(latencies, n=100)[98]
    print(f"\n{len(latencies)} echoes beside {CONNECTIONS} bombs: p99 {p99 * 1e3:.1f} ms", end="")
    assert len(latencies) > 100
    assert p99 < 0.05
