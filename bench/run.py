"""Measure echo against peers, side by side in the same minutes, and print ratios.

    python bench/run.py [--rounds N] [--seconds S] [--workloads plain,class,...]
                        [--connections 1,50,500] [--held N] [--crowd N] [--subscribers N]
                        [--channels 1,1000,...] [--json FILE]

plain: 32 bytes, blocking views. class: the same, class views; pipelined: with 16 messages in flight;
large: 64 KiB; mixed: 16 bytes to 64 KiB. fanout: published to all connections. async: 32 bytes, async
views. frameworks: class views beside other frameworks of Python. compressed: 1 KiB of JSON with
permessage-deflate, as a browser offers it. tls: 32 bytes, class views, over TLS that the server ends.
micro: unmasking and UTF-8 validation beside memcpy. gunicorn: connections held and taken up, and echo
in greenlets, on its workers. crowd: thousands of connections of which few are active, memory, callbacks
that sleep, a second core. channels: what publishing costs its caller, and what subscriptions cost.

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
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import channels
import crowd
import deployed
import peers
from measuring import Command, Failed, Run, cores, is_limited, measure, median, ratio

ROOT = pathlib.Path(__file__).resolve().parent.parent

ECHO = ("plain", "class", "pipelined", "large", "mixed", "fanout", "async", "frameworks")
WORKLOADS = (*ECHO, "compressed", "tls", "micro", "gunicorn", "crowd", "channels")


@dataclass
class Workload:
    """One kind of message, the servers that are measured with it, and what was measured."""

    title: str
    size: int  # bytes of a message
    counts: list[int]  # of connections
    servers: dict[str, Command]
    options: tuple[str, ...] = ()  # of the load generator
    in_flight: int = 1
    path: str = "/echo"
    runs: dict[tuple[int, str], list[Run]] = field(default_factory=dict)
    failures: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.counts) * len(self.servers)


def workloads(names: list[str], counts: list[int]) -> dict[str, Workload]:
    servers = peers.servers()
    several = [count for count in counts if count > 1]
    known = {
        "class": Workload("echo of 32 bytes, class views", 32, counts, servers.class_views),
        "pipelined": Workload(
            "echo of 32 bytes, class views", 32, several[:1], servers.class_views, in_flight=16
        ),
        "large": Workload("echo of 64 KiB, class views", 65536, several[:1], servers.class_views),
        "async": Workload("echo of 32 bytes, async views", 32, several[-1:], servers.async_views),
        "plain": Workload("echo of 32 bytes", 32, counts, servers.plain),
        "mixed": Workload(
            "echo of 16 bytes to 64 KiB, class views",
            0,
            several[:1],
            servers.class_views,
            ("mixed",),
        ),
        "fanout": Workload(
            "32 bytes published to all connections",
            32,
            several[-1:],
            servers.fanout,
            ("fanout",),
            path="/all",
        ),
        "tls": Workload("echo of 32 bytes over TLS", 32, several[:1], servers.tls, ("tls",)),
        "frameworks": Workload("echo of 32 bytes, class view", 32, several, servers.frameworks),
        "compressed": Workload(
            "echo of 1 KiB of JSON, permessage-deflate",
            1024,
            counts,
            servers.compressed,
            ("compressed",),
        ),
    }
    return {name: known[name] for name in names if name in known and known[name].servers}


def run_rounds(selected: dict[str, Workload], rounds: int, seconds: float) -> None:
    total = rounds * sum(workload.steps for workload in selected.values())
    step = 0
    for _ in range(rounds):
        for name, workload in selected.items():
            for count in workload.counts:
                for server, command in workload.servers.items():
                    step += 1
                    print(
                        f"\r{step}/{total} {name}, {count} connections, {server:<30}",
                        end="",
                        flush=True,
                    )
                    key = count, server
                    try:
                        result = measure(
                            command,
                            count,
                            seconds,
                            *workload.options,
                            *peers.SPEAKS.get(server, ()),
                            size=workload.size,
                            in_flight=workload.in_flight,
                            path=workload.path,
                        )
                        workload.runs.setdefault(key, []).append(result)
                    except Failed as error:
                        workload.failures[key] = str(error)
    print("\r" + " " * 78)


def report(name: str, runs: list[Run], ours: list[Run] | None) -> str:
    rate = median(runs, "rate")
    spread = (max(r["rate"] for r in runs) - min(r["rate"] for r in runs)) / rate
    line = (
        f"  {name:<24}{rate:>10,.0f} msg/s ±{spread / 2:>4.0%}"
        f"   p50 {median(runs, 'p50_us') / 1000:>8.2f} ms"
        f"   p99 {median(runs, 'p99_us') / 1000:>8.2f} ms"
        f"   {median(runs, 'cpu_us'):>7.1f} µs CPU/msg"
        f"   {median(runs, 'memory') / 1024:>6.1f} KB/connection"
    )
    peer = ours is not None and name != peers.OURS
    if peer:
        line += f"   by CPU time ours is {ratio(runs, ours, 'cpu_us'):>5.2f} x"
    if is_limited(runs):
        return line + "   (load generator at its limit: no ratio of rates)"
    if peer:
        line += f", by rate {ratio(ours, runs, 'rate'):>5.2f} x"
    return line


def show(workload: Workload, rounds: int) -> None:
    print(f"{workload.title}, {workload.in_flight} in flight, median of {rounds} rounds\n")
    for count in workload.counts:
        print(f"{count} connection{'s' if count > 1 else ''}")
        ours = None if (count, peers.OURS) in workload.failures else workload.runs[count, peers.OURS]
        for name in workload.servers:
            key = count, name
            if key in workload.failures:
                print(f"  {name:<24} failed, no ratio: {workload.failures[key]}")
            else:
                print(report(name, workload.runs[key], ours))
        print()


def run_micro(seconds: float) -> Run:
    """Unmasking and validation, on the core that the servers have."""
    done = subprocess.run(
        [str(peers.BUILD / "bench" / "micro"), str(seconds)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores()[0]}),
    )
    result: Run = json.loads(done.stdout)
    print("64 KiB at a time, GB/s")
    print(f"  memcpy {result['memcpy']:.1f}   unmasking {result['mask']:.1f}", end="")
    print(
        f" ({result['mask_of_memcpy']:.2f} of memcpy)   UTF-8: ASCII {result['utf8_ascii']:.1f}", end=""
    )
    print(f", mixed {result['utf8_mixed']:.2f}")
    print("compressing 1 KiB of JSON")
    for name in ("deflate_short", "zlib"):
        print(f"  {name:<14} {result[name + '_us']:.2f} µs, {result[name + '_bytes']:.0f} bytes")
    print()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--connections", default="1,50,500")
    parser.add_argument("--held", type=int, default=5000, help="connections on one gunicorn worker")
    parser.add_argument("--crowd", type=int, default=15000, help="connections to one process")
    parser.add_argument("--subscribers", type=int, default=10000, help="of one channel")
    parser.add_argument("--channels", default="1,1000,20000,100000", help="of one websocket")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        print("needs two cores: one for the server, one for the load generator")
        return 2
    peers.prepare()
    names = options.workloads.split(",")
    selected = workloads(names, [int(count) for count in options.connections.split(",")])
    run_rounds(selected, options.rounds, options.seconds)
    for workload in selected.values():
        show(workload, options.rounds)
    document: dict[str, Any] = {name: as_json(workload) for name, workload in selected.items()}
    if "micro" in names:
        document["micro"] = run_micro(min(options.seconds, 2.0))
    if "gunicorn" in names:
        document["gunicorn"] = deployed.run(options.rounds, options.seconds, options.held)
    if "crowd" in names:
        document["crowd"] = crowd.run(options.rounds, options.seconds, options.crowd)
    if "channels" in names:
        counts = [int(count) for count in options.channels.split(",")]
        document["channels"] = channels.run(
            options.rounds, options.seconds, options.subscribers, counts
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1))
    ours_failed = [key for w in selected.values() for key in w.failures if key[1] == peers.OURS]
    return 1 if ours_failed else 0


def as_json(workload: Workload) -> dict[str, Any]:
    return {
        "size": workload.size,
        "in_flight": workload.in_flight,
        "runs": [{"connections": c, "server": s, "runs": r} for (c, s), r in workload.runs.items()],
        "failures": [
            {"connections": c, "server": s, "error": e} for (c, s), e in workload.failures.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
