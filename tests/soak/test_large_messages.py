"""A message of 100 MiB, with the limit raised, is never in memory more than 1.2 times."""

from __future__ import annotations

import os
import threading
import time

import pytest
import wire
from conftest import wait_for
from processes import peak_bytes, reset_peak, resident_bytes

SIZE = 100 * 1024 * 1024
#: malloc gives every large block back as soon as it is free: what is resident is what is in use.
#: Otherwise each of its arenas may keep some megabytes once a block of that size was freed.
KEEPS_NOTHING = {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024), "MALLOC_TRIM_THRESHOLD_": str(128 * 1024)}

APP = """
import logging
from flask import Flask
from flask_websockets import WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 128 * 1024 * 1024
app.config["WEBSOCKETS_MAX_FRAGMENTS"] = 0
websockets = WebSockets(app)

@websockets.route("/length")
def length(ws):
    for data in ws.iter_data():
        ws.send(f"{type(data).__name__} {len(data)} {data[:3]!r} {data[-3:]!r}")
        del data

@websockets.route("/send")
def send(ws):
    data = b"x" * (100 * 1024 * 1024)
    ws.send("ready")
    while ws.receive() != "stop":
        ws.send(data)

app.run(host="127.0.0.1", port=PORT)
"""


def send_whole(connection, opcode, data, compressed=False):
    connection.sendall(wire.head(opcode, len(data), compressed=compressed))
    connection.sendall(data)


def send_fragments(connection, opcode, data, size):
    view = memoryview(data)
    for at in range(0, len(data), size):
        final = at + size >= len(data)
        piece = view[at : at + size]
        connection.sendall(wire.head(0 if at else opcode, len(piece), final=final))
        connection.sendall(piece)


def noise(size):
    """Bytes that compress by a little."""
    block = os.urandom(1 << 20)
    return b"".join(block[:-40000] + bytes(40000) for _ in range(size >> 20))


WAYS = {
    "binary, one frame": lambda c: send_whole(c, 2, bytes(SIZE)),
    "binary, fragments of 64 KiB": lambda c: send_fragments(c, 2, bytes(SIZE), 65536),
    "text, ASCII": lambda c: send_whole(c, 1, b"a" * SIZE),
    "text, Latin-1": lambda c: send_whole(c, 1, "ä".encode() * (SIZE // 2)),
    "text, two bytes a character": lambda c: send_whole(c, 1, "Жж".encode() * (SIZE // 4)),
    "binary, compressed": lambda c: send_whole(c, 2, wire.compressed(noise(SIZE), 1), compressed=True),
    "text, compressed to little": lambda c: send_whole(
        c, 1, wire.compressed(b"abc" * (SIZE // 3), 1), compressed=True
    ),
}
EXPECTED = {
    "binary, one frame": f"bytes {SIZE} b'\\x00\\x00\\x00' b'\\x00\\x00\\x00'",
    "binary, fragments of 64 KiB": f"bytes {SIZE} b'\\x00\\x00\\x00' b'\\x00\\x00\\x00'",
    "text, ASCII": f"str {SIZE} 'aaa' 'aaa'",
    "text, Latin-1": f"str {SIZE // 2} 'äää' 'äää'",
    "text, two bytes a character": f"str {SIZE // 2} 'ЖжЖ' 'жЖж'",
    "text, compressed to little": f"str {SIZE // 3 * 3} 'abc' 'abc'",
}


@pytest.mark.timeout(300)
def test_a_message_of_100_mib_is_in_memory_once(program):
    server = program(APP, env=KEEPS_NOTHING)
    pid = server.process.pid
    with wire.connect(server.port, "/length", wire.DEFLATE, timeout=60) as connection:
        send_whole(connection, 2, bytes(3 << 20))  # what is made once is made here
        wire.read_frame(connection)
        time.sleep(0.2)
        before = resident_bytes(pid)
        for name, send in WAYS.items():
            wait_for(lambda: resident_bytes(pid) < before + (8 << 20), what="the last one to be gone")
            reset_peak(pid)
            send(connection)
            _first, answer = wire.read_frame(connection)
            factor = (peak_bytes(pid) - before) / SIZE
            print(f"\n{name}: {factor:.2f} times its size", end="")
            if name in EXPECTED:
                assert answer.decode() == EXPECTED[name]
            else:
                assert answer.decode().startswith(f"bytes {SIZE} ")
            assert factor < 1.2, name


@pytest.mark.timeout(300)
def test_sending_100_mib_makes_no_copy(program):
    server = program(APP)
    pid = server.process.pid
    with wire.connect(server.port, "/send", wire.DEFLATE, timeout=60) as connection:
        assert wire.read_frame(connection) == (0x81, b"ready")
        before = resident_bytes(pid)
        reset_peak(pid)
        connection.sendall(wire.frame(1, b"go"))
        received: list[tuple[int, int]] = []

        def read():
            first, payload = wire.read_frame(connection)
            received.append((first, len(payload)))

        reader = threading.Thread(target=read)
        reader.start()
        reader.join()
        assert received == [(0x82, SIZE)]
        factor = (peak_bytes(pid) - before) / SIZE
        print(f"\nsending: {factor:.2f} times its size on top")
        assert factor < 0.2
        connection.sendall(wire.frame(1, b"stop"))


@pytest.mark.timeout(120)
def test_many_fragments_are_not_copied_again_for_each(program):
    """Twice the fragments take about twice the time, not four times: the growth is geometric."""
    from processes import cpu_nanoseconds

    server = program(APP)
    pid = server.process.pid
    with wire.connect(server.port, "/length", timeout=60) as connection:
        seconds = []
        for fragments in (20_000, 40_000, 80_000):
            data = b"".join(
                wire.frame(0 if i else 2, b"x" * 100, final=i == fragments - 1)
                for i in range(fragments)
            )
            best = float("inf")
            for _ in range(3):
                begun = cpu_nanoseconds(pid)
                connection.sendall(data)
                assert wire.read_frame(connection)[1].startswith(b"bytes %d " % (fragments * 100))
                best = min(best, (cpu_nanoseconds(pid) - begun) / 1e9)
            seconds.append(best)
    print(f"\nCPU for 20, 40 and 80 thousand fragments: {', '.join(f'{s:.4f} s' for s in seconds)}")
    assert seconds[2] < 8 * seconds[0]
