"""The benchmark in its short form: that it runs, and that it does not flatter."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import ROOT

import flask_websockets

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]


def test_one_short_round_measures_every_server(tmp_path):
    result = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "bench/run.py"), "--rounds", "1", "--seconds", "0.2"]
    fewer = ["--connections", "1,20", "--held", "50", "--crowd", "300"]
    fewer += ["--subscribers", "50", "--channels", "1,20000"]
    done = subprocess.run(
        [*command, *fewer, "--json", str(result)],
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
    published, subscribed = measured["channels"]["publishing"], measured["channels"]["subscribing"]
    assert len(published) == 10 and len(subscribed) == 11
    for samples in [*published.values(), *subscribed.values()]:
        assert all(value > 0 for values in samples.values() for value in values)
    delivered = [samples for samples in published.values() if "last_ms" in samples]
    assert len(delivered) == 5 and all(len(samples["last_ms"]) >= 5 for samples in delivered)
    assert "ours is" in done.stdout
    printed = subprocess.run(
        [sys.executable, str(ROOT / "bench/table.py"), str(result)], capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    assert "| from a view's thread |" in printed.stdout and "| 20,000 |" in printed.stdout


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


# ---- two builds ----


def pairs(*arguments):
    command = [sys.executable, str(ROOT / "bench/pairs.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_build_beside_itself(tmp_path):
    folder = pathlib.Path(flask_websockets.__file__).parent.parent
    result = tmp_path / "pairs.json"
    options = [
        "--pairs",
        "2",
        "--seconds",
        "0.2",
        "--workloads",
        "class-50,fanout",
        "--json",
        result,
    ]
    done = pairs(folder, folder, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same: what follows is noise" in done.stdout
    assert done.stdout.count("undecided") == 2  # two pairs decide nothing
    for measured in json.loads(result.read_text()).values():
        assert len(measured["before"]) == len(measured["after"]) == 2
        assert all(run["cpu_us"] > 0 for run in measured["before"] + measured["after"])


def test_a_folder_without_the_package_is_not_measured(tmp_path):
    done = pairs(tmp_path, tmp_path)
    assert done.returncode == 2 and "holds no installed package" in done.stdout


def test_a_pair_that_fails_is_shown_and_does_not_count(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import measuring
    import pairs

    @contextlib.contextmanager
    def started(folder):
        order.append(folder)
        yield folder, 0

    def take_turns(servers, _workload, _seconds):
        if len(order) == 4:
            raise measuring.Failed("it is gone")
        return [{"cpu_us": 2.0 if folder == "b" else 1.0, "rate": 1.0} for folder, _pid in servers]

    order, measured = [], pairs.Measured()
    monkeypatch.setattr(pairs, "started", started)
    monkeypatch.setattr(pairs, "serving", lambda folder, _server: folder)
    monkeypatch.setattr(pairs, "take_turns", take_turns)
    workload = pairs.WORKLOADS["class-50"]
    said = [pairs.take_pair(("a", "b"), workload, 1, number, measured) for number in range(3)]
    assert "".join(order) == "abbaab"  # that which starts first alternates
    assert said == ["0.500", "failed: pair 2: it is gone", "0.500"]
    assert measured.handled() == [0.5, 0.5]


def test_both_are_loaded_by_turns(monkeypatch):
    """And none of them for longer: what each has handled is much the same."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import pairs
    import peers

    peers.prepare()
    measured = pairs.Measured()
    folder = pathlib.Path(flask_websockets.__file__).parent.parent
    pairs.take_pair((folder, folder), pairs.WORKLOADS["class-50"], 0.5, 0, measured)
    assert measured.failures == []
    assert 0.5 < measured.ratios("rate")[0] < 2
    assert all(0 < run["load_cpu"] <= 1.5 for run in measured.before + measured.after)


def test_what_a_few_pairs_can_tell(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import pairs

    ten_of_twelve = [0.8, 0.9, 0.98, *[1.0] * 7, 1.1, 1.2]
    assert pairs.interval(ten_of_twelve) == (0.98, 1.0)
    assert pairs.verdict(ten_of_twelve) == "within 3 %"
    assert pairs.verdict([0.96] * 12) == "WORSE"
    assert pairs.verdict([0.96] * 6 + [1.0] * 6) == "undecided"
    assert pairs.verdict([1.0] * 5) == pairs.verdict([0.5] * 5) == "undecided"
