"""Draw what run.py has measured.

    python bench/plot.py build/bench.json docs/performance.png

matplotlib is installed beside the peers when it is missing.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import peers
from measuring import is_limited, median

#: Workload, connections, title.
PANELS = (
    ("class", 500, "32 bytes, 500 connections, class view"),
    ("pipelined", 50, "the same, 50 connections, 16 in flight"),
    ("fanout", 500, "published to 500 connections"),
    ("frameworks", 500, "500 connections, frameworks of Python"),
    ("async", 500, "500 connections, async view"),
    ("plain", 500, "500 connections, blocking view"),
)
OURS, PEER = "#2a78b5", "#b9c0c7"


def rates(document: dict[str, Any], workload: str, connections: int) -> list[tuple[str, float, bool]]:
    """Of each server: messages a second, and was the load generator at its limit?"""
    found = []
    for entry in document.get(workload, {}).get("runs", ()):
        if entry["connections"] == connections:
            runs = entry["runs"]
            found.append((entry["server"], median(runs, "rate"), is_limited(runs)))
    return sorted(found, key=lambda row: row[1])


def draw(source: pathlib.Path, target: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    document = json.loads(source.read_text())
    figure, axes = pyplot.subplots(3, 2, figsize=(12, 9), constrained_layout=True)
    for axis, (workload, connections, title) in zip(axes.flat, PANELS, strict=True):
        rows = rates(document, workload, connections)
        bars = axis.barh(
            [name for name, _, _ in rows],
            [rate / 1e3 for _, rate, _ in rows],
            color=[OURS if name == peers.OURS else PEER for name, _, _ in rows],
        )
        labels = [f"{rate / 1e3:,.1f}{' or more' if limited else ''}" for _, rate, limited in rows]
        axis.bar_label(bars, labels, padding=3, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    figure.suptitle(
        "thousand messages a second, server on one core (or more: the load was at its limit)"
    )
    figure.savefig(target, dpi=110)


def main() -> int:
    source, target = map(pathlib.Path, sys.argv[1:3])
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        python = peers.PEERS / "bin" / "python"
        if pathlib.Path(sys.prefix) == peers.PEERS:
            raise
        subprocess.run([python, "-m", "pip", "install", "-q", "matplotlib"], check=True)
        return subprocess.run([python, __file__, str(source), str(target)]).returncode
    draw(source, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
