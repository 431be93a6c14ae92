"""The benchmark in its short form: that it runs, and that it does not flatter."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]


def test_one_short_round_measures_every_server(tmp_path):
    result = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "bench/run.py"), "--rounds", "1", "--seconds", "0.2"]
    done = subprocess.run(
        [*command, "--connections", "1,20", "--held", "50", "--crowd", "300", "--json", str(result)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(result.read_text())
    # And uWebSockets, where its library can be loaded.
    for name, measurements in (
        ("plain", 12),
        ("class", 4),
        ("pipelined", 2),
        ("large", 2),
        ("mixed", 2),
        ("fanout", 2),
        ("async", 3),
        ("frameworks", 4),
        ("compressed", 6),
        ("tls", 4),
    ):
        assert measured[name]["failures"] == []
        entries = measured[name]["runs"]
        assert len(entries) >= measurements
        for entry in entries:
            (run,) = entry["runs"]
            assert run["rate"] > 0 and run["p99_us"] >= run["p50_us"] > 0 and run["cpu_us"] > 0
    assert all(value > 0 for value in measured["micro"].values())
    assert len(measured["gunicorn"]) == 10
    for (row,) in measured["gunicorn"].values():
        assert all(value > 0 for value in row.values())
    for (row,) in measured["crowd"].values():
        assert all(value > 0 for name, value in row.items() if name != "memory")
    assert measured["crowd"]["sleepers"][0]["slept"] > 0
    assert "ours is" in done.stdout


def test_a_server_that_does_not_compress_is_a_failure_and_no_figure(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import measuring
    import peers

    peers.prepare()
    ours = peers.servers().compressed[peers.OURS]
    assert measuring.measure(ours, 1, 0.2, "compressed", size=1024)["rate"] > 0
    with pytest.raises(measuring.Failed, match="did not agree on compression"):
        measuring.measure(peers.servers().plain[peers.FLOOR], 1, 0.2, "compressed", size=1024)


LIAR = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection = listener.accept()[0]
    if connection.recv(4096):
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\\r\\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n\\r\\n")
        connection.recv(4096)
        connection.sendall(b"\\x82\\x20" + b"?" * 32)
"""


def test_a_server_that_does_not_echo_is_a_failure_and_no_figure(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import measuring
    import peers

    peers.prepare()
    with pytest.raises(measuring.Failed, match="something else than the echo"):
        measuring.measure(lambda port: [sys.executable, "-c", LIAR, str(port)], 1, 0.2)
