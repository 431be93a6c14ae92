"""Draw the rooms of arrows.py, and the arrows that the includes make between them, as docs/house.svg.

    python tests/lint/draw.py [--check] [FOLDER]

--check: writes nothing, and exits with 1 when the picture that is there is another. FOLDER: another
checkout than this one.

A room stands above all that it includes. Where a leads to b and b to c, an arrow from a to
c is left out.
"""

from __future__ import annotations

import argparse
import html
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

import house
from arrows import ROOMS

PICTURE = house.ROOT / "docs" / "house.svg"

FACE = "flask_websockets"  # of Python, on top of the binding, which it imports as _core
IMPORT = re.compile(r"^\s*from (?:\S*\._core import|\S+ import .*\b_core\b)", re.MULTILINE)

WIDTH, PADDING, LINE = 216, 10, 15  # of a box; between its edge and its text; from line to line
CHARACTERS = 30  # in a line
ACROSS, DOWN = 26, 44  # between boxes
LANE = 18  # for an arrow that passes a row of boxes

STYLE = """
  text { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #57606a }
  .name { font: 600 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328 }
  .about { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, sans-serif; fill: #1f2328 }
  rect { fill: #eef4fb; stroke: #5b8cc0; stroke-width: 1.2 }
  .outside rect { fill: #f7f4ec; stroke: #b09a5f }
  path { fill: none; stroke: #6e7781; stroke-width: 1.3 }
  marker path { fill: #6e7781; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #9aa4ae }
    .name, .about { fill: #e6edf3 }
    rect { fill: #15243a; stroke: #4f7fb4 }
    .outside rect { fill: #2b2618; stroke: #8f7d4a }
    path { stroke: #8b949e }
    marker path { fill: #8b949e }
  }
"""

Arrow = tuple[str, str]


# ---- what there is to draw ----


def arrows(root: pathlib.Path) -> set[Arrow]:
    """From room to room, by what is included; the tests, which may include everything, are left out."""
    found = set()
    for include in house.includes(root):
        if include.target is not None:
            ends = house.room_of(include.file), house.room_of(include.target)
            if ends[0] and ends[1] and ends[0] != ends[1] and ends[0] != "tests":
                found.add((ends[0], ends[1]))
    if any(IMPORT.search(path.read_text()) for path in (root / "src" / FACE).rglob("*.py")):
        found.add((FACE, "binding"))
    return found


def shortened(found: set[Arrow]) -> set[Arrow]:
    """Without those that a longer way says."""
    below: dict[str, set[str]] = {}
    for above, under in found:
        below.setdefault(above, set()).add(under)

    def reached(room: str) -> set[str]:
        return {room}.union(*(reached(other) for other in below.get(room, ())))

    return {
        (above, under)
        for above, under in found
        if not any(under in reached(other) for other in below[above] - {under})
    }


def modules(root: pathlib.Path) -> dict[str, list[str]]:
    """Of each room that has files: the names of its files without what follows the dot."""
    found: dict[str, set[str]] = {}
    for file in house.sources(root):
        room = house.room_of(file)
        if room is not None and room != "tests":
            found.setdefault(room, set()).add(pathlib.PurePath(file).stem)
    if (root / "src" / FACE).is_dir():
        found[FACE] = set()
    return {room: sorted(found[room]) for room in (FACE, *ROOMS) if room in found}


def rows(rooms: list[str], found: set[Arrow]) -> dict[str, int]:
    """In which row each room stands, 0 at the bottom: above all that it leads to. What nobody leads to
    stands beside the binding, or above it."""
    depth: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in depth:
            depth[room] = max((of(under) + 1 for above, under in found if above == room), default=0)
        return depth[room]

    for room in rooms:
        of(room)
    top = depth.get("binding", max(depth.values()))
    for room in rooms:
        if not any(under == room for _, under in found) and any(above == room for above, _ in found):
            depth[room] = max(depth[room], top)
    return depth


# ---- where it stands ----


@dataclass
class Box:
    """A room; or, without text, the place where a long arrow passes a row."""

    room: str
    row: int
    lines: list[tuple[str, str]] = field(default_factory=list)  # class and text
    above: list[Box] = field(default_factory=list)
    below: list[Box] = field(default_factory=list)
    x: float = 0  # of its middle
    y: float = 0  # of its upper edge

    height: float = 0  # a lane is as high as its row

    @property
    def width(self) -> float:
        return WIDTH if self.lines else LANE

    @property
    def half(self) -> float:
        return self.width / 2


def text_of(room: str, names: list[str]) -> list[tuple[str, str]]:
    if room == FACE:
        title, about = f"src/{FACE}/", "Python: the Flask face"
    else:
        title, about = ROOMS[room].files[0].rstrip("*").rstrip("."), ROOMS[room].about
    if names == [pathlib.PurePath(title).stem]:
        names = []  # the title says it
    listed = textwrap.wrap(", ".join(names), CHARACTERS, break_long_words=False, break_on_hyphens=False)
    return [
        ("name", title),
        *(("about", line) for line in textwrap.wrap(about, CHARACTERS)),
        *(("files", line) for line in listed),
    ]


def boxes_of(root: pathlib.Path) -> list[list[Box]]:
    """Row by row, from the bottom, with the lanes of the arrows that pass through."""
    found, named = shortened(arrows(root)), modules(root)
    row = rows(list(named), found)
    boxes = {room: Box(room, row[room], text_of(room, names)) for room, names in named.items()}
    result: list[list[Box]] = [[] for _ in range(max(row.values()) + 1)]
    for box in boxes.values():
        result[box.row].append(box)
    for above, under in sorted(found):
        upper = boxes[above]
        for level in range(row[above] - 1, row[under], -1):
            lane = Box("", level, above=[upper])
            upper.below.append(lane)
            result[level].append(lane)
            upper = lane
        upper.below.append(boxes[under])
        boxes[under].above.append(upper)
    return result


def middle(boxes: list[Box], otherwise: float) -> float:
    return sum(box.x for box in boxes) / len(boxes) if boxes else otherwise


def spread(row: list[Box], wanted: dict[int, float]) -> None:
    """Set the boxes of a row beside each other, each as near as can be to where it should be."""
    groups: list[tuple[list[Box], float]] = []  # boxes that touch, and the middle of the first
    for box in row:
        group, start = [box], wanted[id(box)]
        while groups:
            before, first = groups[-1]
            end = first + sum(one.width + ACROSS for one in before) - before[0].half
            if end + group[0].half <= start:
                break
            groups.pop()
            group = before + group
            offsets = list(offsets_of(group))
            start = sum(wanted[id(one)] - offset for one, offset in zip(group, offsets, strict=True))
            start /= len(group)
        groups.append((group, start))
    for group, start in groups:
        for one, offset in zip(group, offsets_of(group), strict=True):
            one.x = start + offset


def offsets_of(group: list[Box]) -> Iterator[float]:
    """From the middle of the first to that of each."""
    offset = 0.0
    for before, box in zip([group[0], *group], group, strict=False):
        if box is not group[0]:
            offset += before.half + ACROSS + box.half
        yield offset


def place(levels: list[list[Box]]) -> tuple[float, float]:
    """Set x and y of all boxes; returns the size of the picture."""
    for row in levels:
        spread(row, {id(box): 0.0 for box in row})
    for turn in range(24):
        downwards = turn % 2 == 0
        for row in reversed(levels) if downwards else levels:
            near = {id(b): middle(b.above if downwards else b.below, b.x) for b in row}
            if turn < 16:
                row.sort(key=lambda box: near[id(box)])
            spread(row, near)
    every = [box for row in levels for box in row]
    left = min(box.x - box.half for box in every)
    y = 1.0
    for row in reversed(levels):
        height = max(len(box.lines) for box in row) * LINE + 2 * PADDING
        for box in row:
            box.x, box.y = box.x + 1 - left, y
            box.height = len(box.lines) * LINE + 2 * PADDING if box.lines else height
        y += height + DOWN
    return max(box.x + box.half for box in every) + 1, y - DOWN + 1


# ---- the drawing ----


def port(box: Box, other: Box, side: str) -> float:
    """Where on the edge of a box its arrow from or to the other one ends: in the order of those."""
    if not box.lines:
        return box.x
    others = sorted(getattr(box, side), key=lambda one: (one.x, one.row))
    step = min(30.0, (box.width - 40) / max(1, len(others)))
    return box.x + (others.index(other) - (len(others) - 1) / 2) * step


def curve(box: Box) -> Iterator[str]:
    """The arrows that leave a room downwards."""
    for below in box.below:
        x, y = port(box, below, "below"), box.y + box.height
        way = f"M{x:.0f} {y:.0f}"
        upper, lower = box, below
        while True:
            to_x, to_y = port(lower, upper, "above"), lower.y
            bend = (to_y - y) / 2
            way += f" C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
            if lower.lines:
                break
            upper, lower = lower, lower.below[0]
            x, y = to_x, to_y + upper.height
            way += f" V{y:.0f}"
        yield f'  <path d="{way}" marker-end="url(#tip)"/>'


def picture(root: pathlib.Path) -> str:
    """The whole SVG. Raises ValueError where rooms include each other in a circle."""
    below: dict[str, set[str]] = {}
    for above, under in arrows(root):
        below.setdefault(above, set()).add(under)
    for circle in house.circles(below):
        raise ValueError("a circle of rooms, of which none is above: " + ", ".join(circle))
    levels = boxes_of(root)
    width, height = place(levels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">',
        "  <title>The rooms of the C part, and which includes which</title>",
        f"  <style>{STYLE}  </style>",
        '  <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ]
    every = [box for row in reversed(levels) for box in row if box.lines]
    for box in every:
        lines += curve(box)
    for box in every:
        title = box.lines[0][1]
        kind = "" if title.startswith("core/") else ' class="outside"'
        lines.append(f"  <g{kind}>")
        lines.append(
            f'    <rect x="{box.x - WIDTH / 2:.0f}" y="{box.y:.0f}" width="{WIDTH}" '
            f'height="{box.height:.0f}" rx="6"/>'
        )
        for number, (style, text) in enumerate(box.lines):
            lines.append(
                f'    <text class="{style}" x="{box.x - WIDTH / 2 + PADDING:.0f}" '
                f'y="{box.y + PADDING + number * LINE + 11:.0f}">{html.escape(text)}</text>'
            )
        lines.append("  </g>")
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=house.ROOT)
    options = parser.parse_args()
    try:
        drawn = picture(options.folder)
    except ValueError as error:
        print(error)
        return 1
    if not options.check:
        PICTURE.write_text(drawn)
        return 0
    if PICTURE.exists() and PICTURE.read_text() == drawn:
        return 0
    print("docs/house.svg shows another house than the includes do: `make house` draws it anew")
    return 1


if __name__ == "__main__":
    sys.exit(main())
