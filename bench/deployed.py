"""The extension on gunicorn, beside flask-sock on gunicorn with the same flags: connections that are
held, how fast they are taken up, and echo in greenlets."""

from __future__ import annotations

import http.client
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import peers
from measuring import Run, cores, free_port, handshake, load, median, program, ratio

FOLDER = pathlib.Path(__file__).resolve().parent / "servers"
OURS, SOCK = "flask-websockets", "flask-sock"

PAGES = 2000  # for a p99
HELD_BY_THREADS = 500  # by flask-sock, which needs a thread of the server for each


@dataclass
class Gunicorn:
    port: int
    worker: int


@contextmanager
def gunicorn(name: str, *flags: str) -> Iterator[Gunicorn]:
    """One worker, on the first core."""
    port = free_port()
    python = sys.executable if name == OURS else str(peers.PEERS / "bin" / "python")
    app = "ours_app:app" if name == OURS else "flask_sock_app:app"
    command = [python, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    server = subprocess.Popen(
        [*command, "--backlog", "2048", *flags, app],
        cwd=FOLDER,  # not the root, where Python would find the sources before what is installed
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores()[0]}),
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                fetch(port)
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise
                time.sleep(0.05)
        children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        yield Gunicorn(port, int(children.split()[0]))
    finally:
        server.send_signal(signal.SIGQUIT)
        # A gthread worker that is just giving a connection to its threads when the signal comes waits
        # for its own lock (gunicorn 27: submit() and shutdown()), until gunicorn kills it after 30 s.
        server.wait(60)


def fetch(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"a page"
    connection.close()


def page_p99(port: int, count: int) -> float:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        fetch(port)
        times.append(time.perf_counter() - begun)
    return sorted(times)[int(count * 0.99)]


def resident(pid: int) -> int:
    pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def held(name: str, count: int, *flags: str) -> Run:
    """Connections that wait for a message, and pages before and beside them."""
    with gunicorn(name, *flags) as server:
        for connection in [handshake(server.port, "/echo") for _ in range(20)]:
            connection.close()
        page_p99(server.port, 300)
        before, memory = page_p99(server.port, PAGES), resident(server.worker)
        connections = [handshake(server.port, "/echo") for _ in range(count)]
        time.sleep(1)
        each = (resident(server.worker) - memory) / count
        beside = page_p99(server.port, PAGES)
        for connection in connections:
            connection.sendall(b"\x82\x84\0\0\0\0echo")
        for connection in connections:
            assert connection.recv(6, socket.MSG_WAITALL) == b"\x82\x04echo"
        for connection in connections:
            connection.close()
    return {"memory": each, "page_p99": before, "page_p99_beside": beside}


def connects(name: str, at_once: int, stay: float, seconds: float) -> Run:
    with gunicorn(name, "-k", "gthread", "--threads", "8") as server:
        return program("connects", server.port, "/echo", at_once, stay, 1, seconds)


def pages(seconds: float) -> Run:
    """What gunicorn itself needs for a connection and a request."""
    with gunicorn(OURS, "-k", "gthread", "--threads", "8") as server:
        return program("connects", server.port, "/", 8, 0, 1, seconds, "page")


def gevent_echo(name: str, seconds: float) -> Run:
    with gunicorn(name, "-k", "gevent") as server:
        return load(server.port, server.worker, 500, seconds)


def run(rounds: int, seconds: float, held_by_us: int) -> dict[str, list[Run]]:
    """Measure and print. Every round runs each server once, one after the other."""
    sync, two = ("-k", "sync"), ("-k", "gthread", "--threads", "2")
    threads = ("-k", "gthread", "--threads", str(HELD_BY_THREADS + 8))
    steps = {
        "held": {
            OURS: lambda: held(OURS, held_by_us, *sync),
            SOCK: lambda: held(SOCK, HELD_BY_THREADS, *threads),
        },
        "held by gthread": {OURS: lambda: held(OURS, held_by_us, *two)},
        "connects": {name: lambda name=name: connects(name, 8, 0, seconds) for name in (OURS, SOCK)},
        "pages": {OURS: lambda: pages(seconds)},
        "stays": {name: lambda name=name: connects(name, 200, 0.1, seconds) for name in (OURS, SOCK)},
        "gevent": {name: lambda name=name: gevent_echo(name, seconds) for name in (OURS, SOCK)},
    }
    results: dict[str, list[Run]] = {}
    for number in range(rounds):
        for step, servers in steps.items():
            for name, measure in servers.items():
                text = f"gunicorn, round {number + 1} of {rounds}, {step}, {name}"
                print(f"\r{text:<78}", end="", flush=True)
                results.setdefault(f"{step} {name}", []).append(measure())
    print("\r" + " " * 78)
    show(results, rounds, held_by_us)
    return results


def show(results: dict[str, list[Run]], rounds: int, count: int) -> None:
    def both(step: str, key: str) -> tuple[float, float]:
        return median(results[f"{step} {OURS}"], key), median(results[f"{step} {SOCK}"], key)

    def of_theirs(step: str, key: str) -> float:
        return ratio(results[f"{step} {OURS}"], results[f"{step} {SOCK}"], key)

    print(f"gunicorn, one worker on one core, median of {rounds} rounds\n")
    ours, theirs = both("held", "memory")
    print(f"memory for each connection that is held: {ours / 1024:.1f} KB ({count} on a sync worker)")
    print(f"    flask-sock {theirs / 1024:.1f} KB ({HELD_BY_THREADS} on gthread with as many threads)")
    for step, text in (("held", "sync"), ("held by gthread", "gthread --threads 2")):
        own = results[f"{step} {OURS}"]
        times = statistics.median(row["page_p99_beside"] / row["page_p99"] for row in own)
        print(
            f"p99 of a page, {text}: {median(own, 'page_p99') * 1e3:.2f} ms alone, "
            f"{median(own, 'page_p99_beside') * 1e3:.2f} ms beside {count} of ours: {times:.2f} x"
        )
    for step, text in (
        ("stays", "200 at once, staying for 0.1 s"),
        ("connects", "8 at once, leaving after one echo"),
    ):
        ours, theirs = both(step, "connect_rate")
        print(f"connections a second, gthread --threads 8, {text}:")
        times = of_theirs(step, "connect_rate")
        print(f"    {ours:,.0f}, flask-sock {theirs:,.0f}: ours is {times:.2f} x")
    rate = median(results[f"pages {OURS}"], "connect_rate")
    print(f"    the same with a page of one line instead of a websocket: {rate:,.0f}")
    ours, theirs = both("gevent", "rate")
    print("echo of 32 bytes, gevent worker, 500 connections:")
    print(
        f"    {ours:,.0f} msg/s, flask-sock {theirs:,.0f}: ours is {of_theirs('gevent', 'rate'):.2f} x"
    )
    print()
