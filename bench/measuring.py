"""One measurement: a server, started afresh on one core, and the load generator on another."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

import peers

TIMEOUT = 320  # seconds: flask-websockets 0.1.2 takes minutes to accept 500 connections
LOAD_LIMIT = 0.97  # of its core: above it the load generator is the bottleneck

Command = Callable[[int], list[str]]
Run = dict[str, float]


class Failed(Exception):
    """A server or the load generator did not do its work."""


def cores() -> tuple[int, int]:
    """That of the servers, and that of the load generator."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def free_port() -> int:
    """One that no connection of this machine is given as its own between now and the server's start."""
    given = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(10_000, given - 1000), given), 100):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise Failed("no port is free")


@contextlib.contextmanager
def serving(command: Command, every_core: bool = False) -> Iterator[tuple[int, int]]:
    """The server: its port and its process. ``every_core``: it may use that of the load, too."""
    port = free_port()
    allowed = set(cores()) if every_core else {cores()[0]}
    with tempfile.TemporaryFile() as said:  # a pipe would hold up one that says much
        server = subprocess.Popen(
            command(port),
            stdout=subprocess.DEVNULL,
            stderr=said,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        )
        try:
            wait_until_it_serves(server, port, said)
            yield port, server.pid
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()


def wait_until_it_serves(server: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if server.poll() is not None:
            said.seek(0)
            raise Failed("did not start: " + said.read().decode()[-300:])
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed("did not start")


def start_program(name: str, *arguments: object) -> subprocess.Popen[str]:
    """One of the C programs, on the core that no server has."""
    return start([str(peers.BUILD / "bench" / name), *map(str, arguments)], {cores()[1]})


def start(command: list[str], on: set[int]) -> subprocess.Popen[str]:
    """Any program, on these cores, for figures() to read."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, on),
    )


def figures(running: subprocess.Popen[str]) -> Run:
    """What the program prints, once it has ended."""
    try:
        printed, said = running.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{running.args} did not finish") from error
    finally:
        running.kill()
    if running.returncode != 0:
        raise Failed(said.strip() or f"{running.args} ended with {running.returncode}")
    result: Run = json.loads(printed)
    return result


def program(name: str, *arguments: object) -> Run:
    return figures(start_program(name, *arguments))


def load(
    port: int,
    pid: int,
    connections: int,
    seconds: float,
    *options: str,
    size: int = 32,
    in_flight: int = 1,
    path: str = "/echo",
) -> Run:
    """The load generator's figures; ``options`` as it takes them."""
    warm_up = min(1.0, seconds)
    return program("loadgen", port, path, connections, in_flight, size, warm_up, seconds, pid, *options)


def measure(
    command: Command,
    connections: int,
    seconds: float,
    *options: str,
    size: int = 32,
    in_flight: int = 1,
    path: str = "/echo",
    every_core: bool = False,
) -> Run:
    """One server under one load."""
    with serving(command, every_core) as (port, pid):
        return load(
            port, pid, connections, seconds, *options, size=size, in_flight=in_flight, path=path
        )


def handshake(port: int, path: str) -> socket.socket:
    """An open connection, for what needs no load."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert connection.recv(4096).startswith(b"HTTP/1.1 101")
    return connection


def is_limited(runs: list[Run]) -> bool:
    """Was the load generator, rather than the server, at its limit? Then its rate says nothing."""
    return any(run["load_cpu"] > LOAD_LIMIT for run in runs)


def ratio(over: list[Run], under: list[Run], key: str) -> float:
    """Of a round each, the median."""
    return statistics.median(a[key] / b[key] for a, b in zip(over, under, strict=True))


def median(runs: list[Run], key: str) -> float:
    return statistics.median(run[key] for run in runs)
