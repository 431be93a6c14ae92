"""What becomes of one process of ours with many connections, most of them silent; with callbacks that
sleep; and with a core more."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import peers
from measuring import Run, handshake, load, measure, median, ratio, serving

SLEEPERS = 30
ACTIVE = 100
FOLDER = Path(__file__).resolve().parent / "servers"


def class_view(*context: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, str(FOLDER / "ours_class.py"), str(port), *context]


def keep_asleep(sleepers: list[socket.socket], stop: threading.Event, woken: list[int]) -> None:
    """All their callbacks sleep, all the time."""
    for connection in sleepers:
        connection.sendall(b"\x82\x84\0\0\0\0wait")
    while not stop.is_set():
        for connection in sleepers:
            assert connection.recv(6, socket.MSG_WAITALL) == b"\x82\x04wait"
            connection.sendall(b"\x82\x84\0\0\0\0wait")
            woken[0] += 1


def beside_sleepers(connections: int, seconds: float) -> Run:
    """Echo by the other callbacks, while 30 are asleep."""
    stop, woken = threading.Event(), [0]
    with serving(class_view()) as (port, pid):
        sleepers = [handshake(port, "/sleep") for _ in range(SLEEPERS)]
        keeper = threading.Thread(target=keep_asleep, args=(sleepers, stop, woken))
        keeper.start()
        result = load(port, pid, connections, seconds)
        stop.set()
        keeper.join()
    for connection in sleepers:
        connection.close()
    return {**result, "slept": woken[0]}


def run(rounds: int, seconds: float, crowd: int) -> dict[str, list[Run]]:
    """Measure and print. Every round takes each step once, one after the other."""
    few = crowd // 100
    blocking = peers.servers().plain[peers.OURS]
    active = min(ACTIVE, crowd // 3)
    steps: dict[str, Callable[[], Run]] = {
        "few": lambda: measure(class_view(), few, seconds),
        "crowd": lambda: measure(class_view(), few, seconds, f"idle={crowd - few}"),
        "small": lambda: measure(class_view(), active, seconds, f"idle={active}"),
        "large": lambda: measure(class_view(), active, seconds, f"idle={crowd - active}"),
        "memory": lambda: measure(class_view(), 1, 0.3, f"idle={crowd // 3}"),
        "memory app": lambda: measure(class_view("app"), 1, 0.3, f"idle={crowd // 3}"),
        "sleepers": lambda: beside_sleepers(50, seconds),
        "one core": lambda: measure(blocking, 50, seconds),
        "both cores": lambda: measure(blocking, 50, seconds, every_core=True),
    }
    results: dict[str, list[Run]] = {}
    for number in range(rounds):
        for step, take in steps.items():
            print(f"\r{f'crowd, round {number + 1} of {rounds}, {step}':<78}", end="", flush=True)
            results.setdefault(step, []).append(take())
    print("\r" + " " * 78)
    show(results, rounds, crowd, few, active)
    return results


def show(results: dict[str, list[Run]], rounds: int, crowd: int, few: int, active: int) -> None:
    def times(one: str, other: str, key: str) -> float:
        return ratio(results[one], results[other], key)

    def figure(step: str, key: str) -> float:
        return median(results[step], key)

    print(f"one process, class views unless it says otherwise, median of {rounds} rounds\n")
    print(f"{crowd} connections, {few} of them active: p99 {figure('crowd', 'p99_us') / 1e3:.2f} ms")
    print(
        f"    {few} alone {figure('few', 'p99_us') / 1e3:.2f} ms: "
        f"{times('crowd', 'few', 'p99_us'):.2f} x"
    )
    print(f"{active} active beside {active} idle: {figure('small', 'cpu_us'):.2f} µs CPU/msg")
    print(
        f"    beside {crowd - active} idle {figure('large', 'cpu_us'):.2f}: "
        f"{times('large', 'small', 'cpu_us'):.2f} x"
    )
    print(f"memory for each of {crowd // 3} idle connections: {figure('memory', 'memory'):,.0f} bytes")
    print(f'    context = "app": {figure("memory app", "memory"):,.0f} bytes')
    print(
        f"p99 of 50 connections beside {SLEEPERS} callbacks that sleep 1 s: "
        f"{figure('sleepers', 'p99_us') / 1e3:.2f} ms"
    )
    print("blocking view, 50 connections, server free to use the core of the load as well:")
    print(
        f"    {figure('both cores', 'rate'):,.0f} msg/s, on one core "
        f"{figure('one core', 'rate'):,.0f}: {times('both cores', 'one core', 'rate'):.2f} x"
    )
    print()
