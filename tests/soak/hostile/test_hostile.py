"""2,000 hostile connections beside 50 honest ones: the honest notice nothing, and nothing is left.

FWS_HOSTILE_SECONDS sets for how long (120; `make soak`: 1,800)."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
import wire
from conftest import Program, wait_for
from processes import descriptors, resident_bytes, threads

SECONDS = float(os.environ.get("FWS_HOSTILE_SECONDS", "120"))
HOSTILE, HONEST = 2000, 50
OWN_THREADS = 2  # the server's accept loop, the engine's loop
SETTLED = 20  # seconds after which memory must be flat
HERE = pathlib.Path(__file__).parent

APP = """
import logging
from flask import Flask
from flask_websockets import WebSockets

logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)

app.run(host="127.0.0.1", port=PORT)
"""


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def echo_once(server: Program) -> None:
    with wire.connect(server.port, "/echo") as client:
        client.sendall(wire.frame(1, b"hello"))
        assert wire.read_frame(client) == (0x81, b"hello")


def check_memory(memory: list[tuple[float, int]]) -> None:
    """Flat after the first 20 s. Who never reads fills its queues, is cut off after 30 s and comes
    again, so what 20 s to 40 s show is most of it; from the middle on there is no growth at all."""

    def peak(begin: float, end: float) -> float:
        return max(size for at, size in memory if begin <= at <= end) / (1 << 20)

    early, later = peak(SETTLED, SETTLED + 20), peak(SETTLED + 20, SECONDS + 10)
    third, last = peak(SECONDS * 0.5, SECONDS * 0.75), peak(SECONDS * 0.75, SECONDS + 10)
    print(f"memory, MiB: {early:.0f} from {SETTLED} s to {SETTLED + 20} s, then {later:.0f};", end="")
    print(f" third quarter {third:.0f}, last {last:.0f}")
    assert later < early * 1.2 + 16
    assert last < third * 1.05 + 16


@pytest.mark.timeout(SECONDS + 120)
def test_honest_clients_beside_a_hostile_fleet(program, progress):
    server = program(APP)
    pid = server.process.pid
    echo_once(server)  # what is made once is made here
    wait_for(lambda: threads(pid) <= OWN_THREADS, what="the handler to end")
    before = descriptors(pid)
    honest = start("honest.py", server.port, HONEST, SECONDS)
    time.sleep(1)
    fleet = start("fleet.py", server.port, HOSTILE, SECONDS)
    begun = time.monotonic()
    memory: list[tuple[float, int]] = []
    while fleet.poll() is None:
        elapsed = time.monotonic() - begun
        memory.append((elapsed, resident_bytes(pid)))
        progress(
            f"hostile fleet, {elapsed:.0f} of {SECONDS:.0f} s: {memory[-1][1] >> 20} MiB, "
            f"{descriptors(pid)} descriptors, {threads(pid)} threads"
        )
        time.sleep(1)
    counts = json.loads(fleet.communicate()[0])
    result = json.loads(honest.communicate(timeout=60)[0])
    print(f"\nhostile connections: {counts}\nhonest: {result}")
    assert all(count >= HOSTILE // 10 for count in counts.values())
    if SECONDS >= 120:  # those that never read have been cut off, and have come again
        assert counts["never_reads"] > HOSTILE // 10
    assert result["received"] == result["sent"] >= HONEST * (SECONDS * 10 - 10)
    assert result["max"] < 0.25

    check_memory(memory)
    wait_for(lambda: descriptors(pid) <= before, 60, "the descriptors to return")
    wait_for(lambda: threads(pid) <= OWN_THREADS, 20, "the threads to end")
    echo_once(server)
