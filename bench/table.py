"""Print what run.py has measured as the tables of docs/performance.md. A server that has failed in a
round has no figures.

python bench/table.py build/bench.json [workload ...]
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import channels
import peers
from measuring import Run, is_limited, median, ratio

HEAD = (
    "| connections | server | messages/s | p50 | p99 | CPU per message | memory "
    "| by CPU time ours is | by rate |\n"
    "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def row(connections: str, name: str, runs: list[Run], ours: list[Run]) -> str:
    rate, cpu = "", ""
    if name != peers.OURS:
        cpu = f"{ratio(runs, ours, 'cpu_us'):.2f} x"
        rate = "load at its limit" if is_limited(runs) else f"{ratio(ours, runs, 'rate'):.2f} x"
    else:
        name = f"**{name}**"
    return (
        f"| {connections} | {name} | {median(runs, 'rate'):,.0f} "
        f"| {median(runs, 'p50_us') / 1e3:.2f} ms | {median(runs, 'p99_us') / 1e3:.2f} ms "
        f"| {median(runs, 'cpu_us'):.2f} µs "
        f"| {median(runs, 'memory') / 1024:.1f} KB | {cpu} | {rate} |"
    )


def table(workload: dict[str, Any]) -> str:
    lines = [HEAD]
    counts = sorted({entry["connections"] for entry in workload["runs"]})
    failures = {(e["connections"], e["server"]): e["error"] for e in workload["failures"]}
    for count in counts:
        runs = {e["server"]: e["runs"] for e in workload["runs"] if e["connections"] == count}
        label = str(count)
        for name in sorted(runs, key=lambda name: name != peers.OURS):
            if (count, name) in failures:
                lines.append(f"| {label} | {name} | failed: {failures[count, name]} |" + "  |" * 6)
            else:
                lines.append(row(label, name, runs[name], runs[peers.OURS]))
            label = ""
    return "\n".join(lines)


def channels_tables(document: dict[str, Any]) -> str:
    """Those of the workload "channels"."""
    lines = [
        "| publish() | p50 | p99 | max | the last subscriber has it, p50 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row, samples in document["publishing"].items():
        times = samples["us"]
        figures = (channels.part(times, 50), channels.part(times, 99), max(times))
        last = f"{channels.part(samples['last_ms'], 50):.0f} ms" if "last_ms" in samples else ""
        lines.append(f"| {row} | " + " | ".join(f"{us:,.1f} µs" for us in figures) + f" | {last} |")
    rows = document["subscribing"]
    counts = [int(row.split()[-1]) for row in rows if row.startswith("subscribe ")]
    lines += ["", "| channels | " + " | ".join(channels.STEPS) + " |", "| ---: |" + " ---: |" * 5]
    for count in counts:
        cells = (channels.cell(rows[f"{step} {count}"]) for step in channels.STEPS)
        lines.append(f"| {count:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    document = json.loads(pathlib.Path(sys.argv[1]).read_text())
    for name in sys.argv[2:] or [
        name for name in document if "runs" in document[name] or name == "channels"
    ]:
        made = channels_tables(document[name]) if name == "channels" else table(document[name])
        print(f"{name}\n\n{made}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
