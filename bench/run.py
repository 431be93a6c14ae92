"""Measure echo against peers, side by side in the same minutes, and print ratios.

    python bench/run.py [--rounds N] [--seconds S] [--connections 1,50,500] [--json FILE]

Every round runs each server once with each number of connections, one after the other, so that a slow
minute of the machine meets all of them. Servers run on one core and the load generator on another. What
counts is the median over the rounds. No ratio is printed for a peer that failed, and a figure is marked
when the load generator rather than the server was at its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
PEERS = ROOT / ".cache" / "bench-peers"
REQUIREMENTS = ["flask-sock==0.7.0", "flask-websockets==0.1.2", "picows==2.3.1", "uvloop==0.23.0"]

SIZE = 32  # bytes of a message
IN_FLIGHT = 1
CONNECT_TIMEOUT = 300  # seconds: flask-websockets 0.1.2 takes minutes to accept 500 connections
LOAD_LIMIT = 0.97  # of its core: above it the load generator is the bottleneck

OURS = "flask-websockets"
FLOOR = "bare epoll (C)"


def servers() -> dict[str, Callable[[int], list[str]]]:
    folder = ROOT / "bench" / "servers"
    peer_python = str(PEERS / "bin" / "python")

    def script(python: str, name: str) -> Callable[[int], list[str]]:
        return lambda port: [python, str(folder / name), str(port)]

    return {
        FLOOR: lambda port: [str(BUILD / "bench" / "epoll_echo"), str(port)],
        "picows, uvloop": script(peer_python, "picows_echo.py"),
        OURS: script(sys.executable, "ours.py"),
        "flask-websockets 0.1.2": script(peer_python, "flask_websockets_012.py"),
        "flask-sock": script(peer_python, "flask_sock_echo.py"),
    }


def prepare() -> None:
    """Build the C programs, and put the peers into an environment of their own."""
    meson = shutil.which("meson") or str(pathlib.Path(sys.executable).parent / "meson")
    if not (BUILD / "build.ninja").exists():
        options = ["-Dpython=disabled", "-Dtests=disabled", "-Dbench=true"]
        subprocess.run(
            [meson, "setup", str(BUILD), *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
    subprocess.run([meson, "compile", "-C", str(BUILD)], check=True, stdout=subprocess.DEVNULL)
    done = PEERS / "installed.txt"
    if not done.exists() or done.read_text().split() != REQUIREMENTS:
        print("installing the peers ...", flush=True)
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([PEERS / "bin" / "pip", "install", "-q", *REQUIREMENTS], check=True)
        done.write_text("\n".join(REQUIREMENTS))


def cores() -> tuple[int, int]:
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


class Failed(Exception):
    """A server or the load generator did not do its work."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def measure(command: Callable[[int], list[str]], connections: int, seconds: float) -> dict[str, float]:
    """One server, started afresh, under one load."""
    port = free_port()
    server_core, load_core = cores()
    server = subprocess.Popen(
        command(port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {server_core}),
    )
    try:
        wait_until_it_serves(server, port)
        load = [str(BUILD / "bench" / "loadgen"), str(port), "/echo", str(connections), str(IN_FLIGHT)]
        load += [str(SIZE), str(min(1.0, seconds)), str(seconds), str(server.pid)]
        try:
            done = subprocess.run(
                load,
                capture_output=True,
                text=True,
                timeout=seconds + CONNECT_TIMEOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, {load_core}),
            )
        except subprocess.TimeoutExpired as error:
            raise Failed("the load generator did not finish") from error
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        result: dict[str, float] = json.loads(done.stdout)
        return result
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert server.stderr is not None
        server.stderr.close()


def wait_until_it_serves(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if server.poll() is not None:
            assert server.stderr is not None
            raise Failed("did not start: " + server.stderr.read().decode()[-300:])
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed("did not start")


def median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def report(name: str, runs: list[dict[str, float]], ours: list[dict[str, float]] | None) -> str:
    rate = median(runs, "rate")
    spread = (max(r["rate"] for r in runs) - min(r["rate"] for r in runs)) / rate
    line = (
        f"  {name:<24}{rate:>10,.0f} msg/s ±{spread / 2:>4.0%}"
        f"   p50 {median(runs, 'p50_us') / 1000:>8.2f} ms"
        f"   p99 {median(runs, 'p99_us') / 1000:>8.2f} ms"
        f"   {median(runs, 'cpu_us'):>7.1f} µs CPU/msg"
    )
    limited = any(run["load_cpu"] > LOAD_LIMIT for run in runs)
    if limited:
        return line + "   (load generator at its limit: no ratio)"
    if ours is not None and name != OURS:
        ratios = [o["rate"] / r["rate"] for o, r in zip(ours, runs, strict=True)]
        line += f"   ours is {statistics.median(ratios):>5.2f} x"
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--connections", default="1,50,500")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        print("needs two cores: one for the server, one for the load generator")
        return 2
    prepare()
    counts = [int(count) for count in options.connections.split(",")]
    commands = servers()
    results: dict[int, dict[str, list[dict[str, float]]]] = {
        count: {name: [] for name in commands} for count in counts
    }
    failures: dict[tuple[int, str], str] = {}
    total = options.rounds * len(counts) * len(commands)
    step = 0
    for _ in range(options.rounds):
        for count in counts:
            for name, command in commands.items():
                step += 1
                print(f"\r{step}/{total} {count} connections, {name:<30}", end="", flush=True)
                try:
                    results[count][name].append(measure(command, count, options.seconds))
                except Failed as error:
                    failures[count, name] = str(error)
    print("\r" + " " * 70)
    print(f"echo of {SIZE} bytes, {IN_FLIGHT} in flight, median of {options.rounds} rounds\n")
    for count in counts:
        print(f"{count} connection{'s' if count > 1 else ''}")
        ours = None if (count, OURS) in failures else results[count][OURS]
        for name, runs in results[count].items():
            if (count, name) in failures:
                print(f"  {name:<24} failed, no ratio: {failures[count, name]}")
            else:
                print(report(name, runs, ours))
        print()
    if options.json:
        write(options.json, results, failures)
    return 1 if any(name == OURS for _, name in failures) else 0


def write(
    path: pathlib.Path,
    results: dict[int, dict[str, list[dict[str, float]]]],
    failures: dict[tuple[int, str], str],
) -> None:
    document: dict[str, Any] = {
        "size": SIZE,
        "in_flight": IN_FLIGHT,
        "results": results,
        "failures": [{"connections": c, "server": n, "error": e} for (c, n), e in failures.items()],
    }
    path.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main())
