"""Channels of one process of ours: what publishing costs its caller, beside the broadcast() of
websockets; what subscribing, unsubscribing and leaving cost one websocket, and how long they hold up
another."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peers
import websocket
from measuring import Failed, cores, figures, handshake, serving, start

FOLDER = Path(__file__).resolve().parent
CALLS = 14  # for each second that a measurement is to take
INTERVAL = 15e-6  # seconds for each subscriber until the next call: they have it by then
NOBODY = 20_000  # publications to a channel that nobody has
FLOOR = "a thread is woken, C"
PYTHON_FLOOR = "the same from a method of Python"
SETTLE = 0.1  # seconds after a change for which others are still watched

Samples = dict[str, list[float]]  # by row
Results = dict[str, Samples]


class Control:
    """Commands to the server, over /measure."""

    def __init__(self, port: int) -> None:
        self.port = port
        url = f"ws://127.0.0.1:{port}/measure"
        self._connection: websocket.WebSocket = websocket.create_connection(url, timeout=600)

    def send(self, do: str, *arguments: object) -> None:
        self._connection.send(json.dumps({"do": do, "with": arguments}))

    def answer(self) -> dict[str, Any]:
        answered = self._connection.recv()
        if not answered:
            raise Failed("the server has not done what it was told")
        result: dict[str, Any] = json.loads(answered)
        return result

    def do(self, do: str, *arguments: object) -> dict[str, Any]:
        self.send(do, *arguments)
        return self.answer()


class Echo:
    """Another websocket, which echoes all the time: the longest that it has waited."""

    def __init__(self, port: int) -> None:
        self._connection = handshake(port, "/echo")
        self._ended = False
        self._longest = 0.0
        self._count = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        os.sched_setaffinity(0, {cores()[1]})
        while not self._ended:
            begun = time.perf_counter()
            self._connection.sendall(b"\x82\x84\0\0\0\0echo")
            if self._connection.recv(6) != b"\x82\x04echo":
                return
            self._longest = max(self._longest, time.perf_counter() - begun)
            self._count += 1
            time.sleep(0.0002)

    def longest(self) -> float:
        """In seconds, since it was asked last; also of one that is on its way."""
        count = self._count
        while self._count < count + 2:
            if not self._thread.is_alive():
                raise Failed("the other websocket's echo has ended")
            time.sleep(0.001)
        result, self._longest = self._longest, 0.0
        return result

    def end(self) -> None:
        self._ended = True
        self._thread.join()
        self._connection.close()


@contextmanager
def audience(port: int, count: int) -> Iterator[list[list[int]]]:
    """So many subscribers, in a process on the core that no server has. Afterwards the list says of
    each message how many had it, and after how many ns the last one."""
    had: list[list[int]] = []
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / "audience.py"), str(port), "/everybody", str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores()[1]}),
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise Failed(f"{count} subscribers did not connect")
        yield had
        process.stdin.close()
        had += json.loads(process.stdout.read())
    finally:
        process.kill()
        process.wait()


# ---- publishing ----


def publishing(
    command: peers.Command,
    ways: dict[str, str],
    subscribers: int,
    seconds: float,
    every_core: bool = False,
) -> Results:
    """The time of each call, and until the last subscriber has it. ``ways``: by row, what the server is
    told. ``every_core``: it may use that of the subscribers, too."""
    warm_up, count, interval = 3, max(5, round(seconds * CALLS)), subscribers * INTERVAL
    results: Results = {}
    with serving(command, every_core) as (port, _), audience(port, subscribers) as had:
        control = Control(port)
        for row, do in ways.items():
            control.do(do, "everybody", warm_up, interval)
            done = control.do(do, "everybody", count, interval)
            if set(done["subscribers"]) != {subscribers}:
                raise Failed(f"published to {done['subscribers']}, and not to {subscribers}")
            results[row] = {"us": [ns / 1e3 for ns in done["times"]]}
    for number, row in enumerate(ways):
        end = (number + 1) * (warm_up + count)
        messages = had[end - count : end]
        if len(messages) < count or any(n != subscribers for n, _ in messages):
            raise Failed(f"{row}: not every subscriber got every message")
        results[row]["last_ms"] = [ns / 1e6 for _, ns in messages]
    return results


def to_nobody(control: Control) -> Samples:
    times = control.do("publish", "nobody has this", NOBODY, 0)["times"]
    return {"us": [ns / 1e3 for ns in times]}


def floors(calls: int, interval: float, every_core: bool = False) -> Results:
    """A C program that does no more than wake a thread that sleeps; and one in Python."""
    allowed = set(cores()) if every_core else {cores()[0]}
    c = str(peers.BUILD / "bench" / "wake")
    numbers = [str(calls), str(int(interval * 1e6))]
    commands = {
        FLOOR: [c, *numbers],
        PYTHON_FLOOR: [sys.executable, str(FOLDER / "wake.py"), c, *numbers],
    }
    suffix = ", both cores" if every_core else ""
    results: Results = {}
    for row, command in commands.items():
        samples: Any = figures(start(command, allowed))
        results[row + suffix] = {"us": samples["us"]}
    return results


# ---- subscribing ----


STEPS = ("subscribe", "unsubscribe", "subscribe, second", "leave, first", "leave, last")


def join(port: int, name: str) -> socket.socket:
    """A websocket that the server knows by this name."""
    member = handshake(port, f"/member/{name}")
    member.sendall(b"\x82\x84\0\0\0\0echo")  # once its view answers, it is known
    assert member.recv(6) == b"\x82\x04echo"
    return member


def changes(control: Control, echo: Echo, number: int, count: int) -> dict[str, tuple[float, float]]:
    """Of websockets with so many channels: µs for each of them, and ms that another has waited. One
    subscribes and unsubscribes; then two have the same channels, and leave."""
    room = f"{number}-{count}"
    first, second = f"{room}-first", f"{room}-second"
    members = {name: join(control.port, name) for name in (first, second)}

    def leave(name: str, others: int) -> dict[str, Any]:
        control.send("left", room, count, others)
        members[name].close()
        return control.answer()

    steps = (
        lambda: control.do("subscribe", first, room, count),
        lambda: control.do("unsubscribe", first, room, count),
        lambda: (
            control.do("subscribe", first, room, count),
            control.do("subscribe", second, room, count),
        )[1],
        lambda: leave(first, 1),
        lambda: leave(second, 0),
    )
    results = {}
    for name, step in zip(STEPS, steps, strict=True):
        time.sleep(SETTLE / 10)
        echo.longest()
        taken = step()["time"]
        time.sleep(SETTLE)
        results[name] = taken / 1e3 / count, echo.longest() * 1e3
    return results


def subscribing(command: peers.Command, counts: list[int]) -> tuple[Results, Samples]:
    """By row; and what publishing to nobody takes."""
    results: Results = {}
    with serving(command) as (port, _):
        control = Control(port)
        nobody = to_nobody(control)
        echo = Echo(port)
        try:
            time.sleep(1)
            results["nothing"] = {"held_ms": [echo.longest() * 1e3]}
            for count in counts:
                for number in range(max(1, min(10, 10_000 // count))):
                    for step, (each, held) in changes(control, echo, number, count).items():
                        row = results.setdefault(f"{step} {count}", {"us": [], "held_ms": []})
                        row["us"].append(each)
                        row["held_ms"].append(held)
        finally:
            echo.end()
    return results, nobody


# ---- all of it ----


def run(rounds: int, seconds: float, subscribers: int, counts: list[int]) -> dict[str, Results]:
    """Measure and print. Every round takes each step once, one after the other."""
    servers = peers.servers().channels
    ours = {"from a view's thread": "publish", "from another thread": "publish in background"}
    free = {f"{row}, both cores": do for row, do in ours.items()}
    peer = {peers.BROADCAST: "publish"}
    published: Results = {}
    subscribed: Results = {}

    def progress(number: int, step: str) -> None:
        print(f"\r{f'channels, round {number + 1} of {rounds}, {step}':<78}", end="", flush=True)

    for number in range(rounds):
        progress(number, "publishing")
        merge(published, publishing(servers[peers.OURS], ours, subscribers, seconds))
        progress(number, "publishing, both cores")
        merge(published, publishing(servers[peers.OURS], free, subscribers, seconds, every_core=True))
        progress(number, FLOOR)
        calls, interval = round(CALLS * seconds), subscribers * INTERVAL
        merge(published, floors(2 * calls, interval))
        merge(published, floors(2 * calls, interval, every_core=True))
        progress(number, peers.BROADCAST)
        merge(published, publishing(servers[peers.BROADCAST], peer, subscribers, seconds))
        progress(number, "subscribing")
        changed, nobody = subscribing(servers[peers.OURS], counts)
        merge(subscribed, changed)
        merge(published, {"to nobody": nobody})
    print("\r" + " " * 78)
    results = {"publishing": published, "subscribing": subscribed}
    show(results, rounds, subscribers, counts)
    return results


def merge(into: Results, more: Results) -> None:
    """The samples of a further round."""
    for row, samples in more.items():
        for key, values in samples.items():
            into.setdefault(row, {}).setdefault(key, []).extend(values)


def part(samples: list[float], percent: int) -> float:
    return sorted(samples)[min(len(samples) - 1, len(samples) * percent // 100)]


def cell(samples: Samples) -> str:
    """Of each channel, and how long another waited."""
    return f"{statistics.median(samples['us']):.2f} ({max(samples['held_ms']):.1f})"


def show(results: dict[str, Results], rounds: int, subscribers: int, counts: list[int]) -> None:
    print(f"one process, on one core unless it says otherwise, {rounds} round(s)\n")
    print(f"publish() of 32 bytes to {subscribers:,} subscribers: µs of a call, and ms to the last one")
    print(f"  {'':<47}{'p50':>10}{'p99':>10}{'max':>10}{'last has it, p50':>20}{'calls':>8}")
    for row, samples in results["publishing"].items():
        times = samples["us"]
        line = f"  {row:<47}{part(times, 50):>10.1f}{part(times, 99):>10.1f}{max(times):>10.1f}"
        last = f"{part(samples['last_ms'], 50):.1f}" if "last_ms" in samples else ""
        print(f"{line}{last:>20}{len(times):>8,}")
    print("\none websocket's channels: µs for each (longest wait of another's echo, ms)")
    print(f"  {'channels':>10}" + "".join(f"{step:>20}" for step in STEPS))
    for count in counts:
        cells = (cell(results["subscribing"][f"{step} {count}"]) for step in STEPS)
        print(f"  {count:>10,}" + "".join(f"{text:>20}" for text in cells))
    still = max(results["subscribing"]["nothing"]["held_ms"])
    print(f"  {still:.1f} ms is the longest wait while nothing happens\n")
