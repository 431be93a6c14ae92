"""Thousands of websockets on one worker, and pages beside them."""

from __future__ import annotations

import pathlib
import resource
import time

import pytest
import wire
from conftest import wait_for
from kinds import Kind, gunicorn
from processes import descriptors, resident_bytes, threads

#: Here and in the server.
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

MANY = {
    "sync": (gunicorn("sync", "--backlog", "2048"), 5_000),
    "gthread": (gunicorn("gthread", "--threads", "2", "--backlog", "2048"), 5_000),
    "gevent": (gunicorn("gevent", "-k", "gevent", "--backlog", "2048"), 10_000),
    "gthread-tls": (gunicorn("gthread-tls", "--threads", "2", "--backlog", "2048", tls=True), 1_000),
    "gevent-tls": (gunicorn("gevent-tls", "-k", "gevent", "--backlog", "2048", tls=True), 1_000),
}


@pytest.fixture(autouse=True)
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect(server):
    connection = server.socket()
    connection.sendall(wire.request(server.port, "/echo"))
    assert wire.read_head(connection).startswith("HTTP/1.1 101")
    return connection


def worker_of(server) -> int:
    pid = server.process.pid
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().partition(" ")[0] or 0)


def pages(server, count: int) -> float:
    """The 99th percentile, seconds."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        assert server.page("GET", "/").text == "a page"
        times.append(time.perf_counter() - begun)
    return sorted(times)[int(count * 0.99)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "count"), MANY.values(), ids=list(MANY))
def test_one_worker_holds_them_all(serve, kind: Kind, count: int, progress, capsys):
    count = min(count, (DESCRIPTORS - 500) // (4 if kind.tls else 2 if kind.threads else 1))
    server = serve(kind)
    worker = wait_for(lambda: worker_of(server))
    for connection in [connect(server) for _ in range(20)]:
        connection.close()
    pages(server, 100)
    before = pages(server, 300)
    said = len(server.log)
    memory, files = resident_bytes(worker), descriptors(worker)
    connections = []
    for number in range(count):
        connections.append(connect(server))
        progress(f"{number} of {count} connections")
    held, running = resident_bytes(worker), threads(worker)
    beside = pages(server, 300)
    for size in (5, 64 * 1024) if kind.tls else (5,):
        for connection in connections:
            connection.sendall(wire.frame(2, b"x" * size))
        for connection in connections:
            assert wire.read_frame(connection) == (0x82, b"x" * size)
    with capsys.disabled():
        print(
            f"\n    {count} on {kind}: {(held - memory) / count / 1024:.1f} KB each, {running} "
            f"threads, pages p99 {beside * 1000:.1f} ms beside them, {before * 1000:.1f} ms without",
            end="",
        )
    if kind.tls:
        connections[0].sendall(wire.frame(2, b"y" * (1 << 20)))
        assert wire.read_frame(connections[0]) == (0x82, b"y" * (1 << 20))
    for connection in connections:
        connection.close()
    wait_for(lambda: descriptors(worker) <= files + 2, 30, "the descriptors to be closed")
    assert worker_of(server) == worker
    assert "rror" not in server.log[said:]
