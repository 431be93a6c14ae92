"""Measure two builds of this package against each other, in interleaved pairs.

    python bench/pairs.py BEFORE AFTER [--pairs N] [--seconds S] [--workloads class-50,...]
                          [--json FILE]

BEFORE, AFTER: folders that hold an installed package each, as `pip install --target FOLDER .` makes
them. The same folder twice shows how far the figures of one and the same build lie apart.

A pair is a server of each, started anew, each with a load generator. These two take turns: one sends
for 0.1 s while the other is stopped, in the order ABBA, so that what gets slower or faster meanwhile
meets both. (On a shared machine a run differs by a third from one second to the next: run after run,
12 pairs of one and the same build lay between 0.6 and 2.0.) What counts is the ratio after : before of
each pair, of the messages that the server handles in a second of CPU time, and in a second. Printed are
the median; the interval in which the true median lies with 95 % certainty (a sign test, which supposes
nothing of how the ratios are spread); the quartiles; and the range. The verdict is on messages per CPU
second:

    within 3 %      the whole interval lies above 0.97
    WORSE           the whole interval lies below 0.97
    undecided       0.97 lies within it, or there are fewer than 6 pairs: more of them are needed

Exits with 1 when a workload is worse, with 2 when a run has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import peers
from measuring import Command, Failed, Run, figures, is_limited, start_program
from measuring import serving as started

SERVERS = pathlib.Path(__file__).resolve().parent / "servers"
TOLERANCE = 0.03
CERTAINTY = 0.95
TURN = 0.1  # seconds
WARM_UP = 1.0  # seconds, half of which it is stopped


@dataclass(frozen=True)
class Workload:
    """What is run, with how many connections."""

    title: str
    server: str  # a program in bench/servers
    connections: int
    in_flight: int = 1
    path: str = "/echo"
    size: int = 32  # bytes of a message
    options: tuple[str, ...] = ()  # of the load generator


WORKLOADS = {
    "class-50": Workload("class views, 50 connections", "ours_class.py", 50),
    "class-500": Workload("class views, 500 connections", "ours_class.py", 500),
    "pipelined": Workload("class views, 50 connections, 16 in flight", "ours_class.py", 50, 16),
    "fanout": Workload(
        "published to 500 connections", "ours_class.py", 500, path="/all", options=("fanout",)
    ),
    "blocking-50": Workload("blocking views, 50 connections", "ours.py", 50),
    "blocking-500": Workload("blocking views, 500 connections", "ours.py", 500),
    "asking-50": Workload(
        "class views that wait for a database, 50 connections", "ours_class.py", 50, path="/ask"
    ),
    "asking-500": Workload(
        "class views that wait for a database, 500 connections", "ours_class.py", 500, path="/ask"
    ),
    "large": Workload("class views, 50 connections, 64 KiB", "ours_class.py", 50, size=65536),
    "medium": Workload("blocking views, 50 connections, 12 KiB", "ours.py", 50, size=12288),
    "compressed": Workload(
        "blocking views, 50 connections, 1 KiB of JSON, compressed",
        "ours.py",
        50,
        size=1024,
        options=("compressed",),
    ),
}
#: What a change of the engine is held against; the others are for what concerns them.
USUAL = ("class-50", "class-500", "pipelined", "fanout", "blocking-50", "blocking-500")


# ---- what is measured ----


def identity(folder: pathlib.Path) -> str:
    """Which build it is. Raises Failed when Python would not find this one there."""
    code = "import flask_websockets as f; print(f._core.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SERVERS,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    core = pathlib.Path(done.stdout.strip())
    if done.returncode != 0 or not core.resolve().is_relative_to(folder):
        raise Failed(f"{folder} holds no installed package: {done.stderr[-300:] or core}")
    return f"{folder} (extension {hashlib.sha256(core.read_bytes()).hexdigest()[:12]})"


def serving(folder: pathlib.Path, server: str) -> Command:
    """The command that serves with the package in this folder."""
    script = str(SERVERS / server)
    return lambda port: ["env", f"PYTHONPATH={folder}", sys.executable, script, str(port)]


def take_turns(servers: list[tuple[int, int]], workload: Workload, seconds: float) -> list[Run]:
    """Load both servers by turns, each for so many seconds."""
    loads = [
        start_program(
            "loadgen",
            port,
            workload.path,
            workload.connections,
            workload.in_flight,
            workload.size,
            WARM_UP,
            2 * seconds,  # half of which it is stopped
            pid,
            *workload.options,
        )
        for port, pid in servers
    ]
    try:
        while any(load.poll() is None for load in loads):
            for turn in (0, 1, 1, 0):
                loads[1 - turn].send_signal(signal.SIGSTOP)
                loads[turn].send_signal(signal.SIGCONT)
                time.sleep(TURN)
    finally:
        for load in loads:
            load.kill()
    runs = [figures(load) for load in loads]
    for run in runs:
        run["load_cpu"] *= 2
    return runs


@dataclass
class Measured:
    """The runs of one workload, pair by pair, and what went wrong."""

    before: list[Run] = field(default_factory=list)
    after: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def ratios(self, key: str) -> list[float]:
        """After : before, of each pair."""
        pairs = zip(self.before, self.after, strict=True)
        return [after[key] / before[key] for before, after in pairs]

    def handled(self) -> list[float]:
        """The same, of the messages per CPU second."""
        return [1 / ratio for ratio in self.ratios("cpu_us")]


def take_pair(
    folders: tuple[pathlib.Path, pathlib.Path],
    workload: Workload,
    seconds: float,
    number: int,
    into: Measured,
) -> str:
    """Add one pair, and say how it went. A pair that has failed does not count."""
    order = (0, 1) if number % 2 == 0 else (1, 0)  # in which they are started
    try:
        with contextlib.ExitStack() as running:
            servers = {
                which: running.enter_context(started(serving(folders[which], workload.server)))
                for which in order
            }
            results = dict(
                zip(order, take_turns([servers[one] for one in order], workload, seconds), strict=True)
            )
    except Failed as error:
        text = f"pair {number + 1}: {error}"
        into.failures.append(text)
        return "failed: " + text
    into.before.append(results[0])
    into.after.append(results[1])
    return f"{results[0]['cpu_us'] / results[1]['cpu_us']:.3f}"


# ---- what is made of it ----


def interval(ratios: list[float]) -> tuple[float, float] | None:
    """In which the median lies with the certainty asked for; None when there are too few for that."""
    ordered, count, found = sorted(ratios), len(ratios), None
    for cut in range(count // 2):
        # So often the median lies beyond these two by chance: as many heads in as many throws.
        beyond = 2 * sum(math.comb(count, heads) for heads in range(cut + 1)) / 2**count
        if beyond <= 1 - CERTAINTY:
            found = ordered[cut], ordered[count - 1 - cut]
    return found


def verdict(ratios: list[float]) -> str:
    found = interval(ratios)
    if found is not None and found[1] < 1 - TOLERANCE:
        return "WORSE"
    return "within 3 %" if found is not None and found[0] >= 1 - TOLERANCE else "undecided"


def spread(ratios: list[float]) -> str:
    found = interval(ratios)
    certain = f"[{found[0]:.3f} {found[1]:.3f}]" if found else "[too few]"
    quartiles = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else ratios * 3
    return (
        f"{statistics.median(ratios):.3f}  {certain}   quartiles {quartiles[0]:.3f} {quartiles[2]:.3f}"
        f"   range {min(ratios):.3f} {max(ratios):.3f}"
    )


def show(workload: Workload, measured: Measured) -> None:
    print(f"{workload.title}: {len(measured.before)} pair(s)")
    for text in measured.failures:
        print(f"  FAILED  {text}")
    if not measured.before:
        return
    ratios = measured.handled()
    print(f"  messages per CPU second  {spread(ratios)}   {verdict(ratios)}")
    limited = is_limited(measured.before + measured.after)
    remark = "   (load generator at its limit: says nothing)" if limited else ""
    print(f"  messages per second      {spread(measured.ratios('rate'))}{remark}")
    cpu = [
        statistics.median(run["cpu_us"] for run in runs) for runs in (measured.before, measured.after)
    ]
    print(f"  µs of CPU per message {cpu[0]:.2f}, then {cpu[1]:.2f}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load for each server of a pair")
    parser.add_argument("--workloads", default=",".join(USUAL))
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    names = options.workloads.split(",")
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown or options.pairs < 1:
        parser.error(f"no workload: {unknown}; there are {','.join(WORKLOADS)}; pairs are at least 1")
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("needs two cores: one for the server, one for the load generator")
    folders = options.before.resolve(), options.after.resolve()
    try:
        print(f"before: {identity(folders[0])}\nafter:  {identity(folders[1])}")
    except Failed as error:
        print(error)
        return 2
    if folders[0] == folders[1]:
        print("the same: what follows is noise")
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: something else is running, which makes noise")
    peers.build()
    measured = {name: Measured() for name in names}
    try:
        for number in range(options.pairs):
            for name in names:
                place = f"pair {number + 1} of {options.pairs}, {name}"
                print(f"{place} ... ", end="", file=sys.stderr, flush=True)
                said = take_pair(
                    folders,
                    WORKLOADS[name],
                    options.seconds,
                    number,
                    measured[name],
                )
                print(said, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted: what there is until now", file=sys.stderr)
    print()
    for name in names:
        show(WORKLOADS[name], measured[name])
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({name: vars(m) for name, m in measured.items()}, indent=1))
    if any(m.failures or not m.before for m in measured.values()):
        return 2
    worse = [m for m in measured.values() if verdict(m.handled()) == "WORSE"]
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
