"""The #include lines of the C part, held against the arrows of ``arrows.py``.

    python tests/lint/house.py [FOLDER]

Prints every include that goes against an arrow, leads nowhere, or closes a circle; and every function
that one room declares and another defines, as its callers could go against the arrows with no include.
Exits with 1 if there is one. FOLDER: another checkout than this one.
"""

from __future__ import annotations

import fnmatch
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from arrows import NEVER, ROOMS, Room

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDERS = ("core", "binding", "bench", "fuzz", "tests/core")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)
#: A function that others can call, from its return type to the end of its parameters, and what follows.
FUNCTION = re.compile(
    r"^(?!static\b|typedef\b|#|return\b)[a-z][\w \t\n*]*?\b(fws_\w+)\(([^;{}]*)\)\s*([;{])",
    re.MULTILINE,
)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)

Rooms = Mapping[str, Room]


@dataclass(frozen=True)
class Include:
    """One line."""

    file: str  # path from the root
    line: int
    name: str  # as it is written
    target: str | None  # path from the root, of a file that is ours
    system: bool  # written with < >

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: "{self.name}"'


def sources(root: pathlib.Path) -> list[str]:
    """All files of C, as paths from the root."""
    found = (path for folder in FOLDERS for path in (root / folder).rglob("*.[ch]"))
    return sorted(path.relative_to(root).as_posix() for path in found)


def resolve(root: pathlib.Path, file: str, name: str) -> str | None:
    """Where the compiler finds it: beside the file, or from core/."""
    for folder in ((root / file).parent, root / "core"):
        path = (folder / name).resolve()
        if path.is_file() and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return None


def includes(root: pathlib.Path) -> Iterator[Include]:
    root = root.resolve()
    for file in sources(root):
        text = (root / file).read_text()
        for match in INCLUDE.finditer(text):
            name = match[1] or match[2]
            line = text.count("\n", 0, match.start()) + 1
            yield Include(file, line, name, resolve(root, file, name), system=match[2] is not None)


def room_of(file: str, rooms: Rooms = ROOMS) -> str | None:
    """That with the longest pattern that fits."""
    fitting = [
        (len(pattern), name)
        for name, room in rooms.items()
        for pattern in room.files
        if fnmatch.fnmatchcase(file, pattern)
    ]
    return max(fitting)[1] if fitting else None


# ---- what can be wrong ----


def wrong_table(rooms: Rooms) -> Iterator[str]:
    """An arrow that does not point down."""
    order = list(rooms)
    for name, room in rooms.items():
        for other in room.may_include:
            if other not in rooms:
                yield f"arrows.py: {name} may include {other}, which is no room"
            elif order.index(other) <= order.index(name):
                yield f"arrows.py: {name} may include {other}, which does not stand below it"


def wrong_include(include: Include, rooms: Rooms) -> str | None:
    if include.target is None:
        if not include.system:
            return f"{include} is found neither beside the file nor in core/"
        for files, names in NEVER.items():
            if fnmatch.fnmatchcase(include.file, files):
                for name in names:
                    if fnmatch.fnmatchcase(include.name, name):
                        return f"{include} is not for {files}"
        return None
    above, below = room_of(include.file, rooms), room_of(include.target, rooms)
    if above is None or below is None:
        return None  # wrong_files says so
    if above != below and below not in rooms[above].may_include:
        return f"{include} goes against the arrows: {above} may not include {below}"
    return None


def wrong_files(root: pathlib.Path, rooms: Rooms) -> Iterator[str]:
    for file in sources(root):
        if room_of(file, rooms) is None:
            yield f"{file} is in no room of arrows.py"


def module(file: str) -> str:
    """A header and the file of the same name are one."""
    return file.rpartition(".")[0]


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Of a graph, those sets of more than one node in which everyone leads to everyone."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in edges.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reach = {node: reached(node) for node in edges}
    found = {
        frozenset(other for other in reach[node] if node in reach.get(other, set())) for node in edges
    }
    return sorted(sorted(circle) for circle in found if len(circle) > 1)


def wrong_circles(found: list[Include], rooms: Rooms) -> Iterator[str]:
    """Modules that include each other in a circle, but for one circle in a room that is one object."""
    edges: dict[str, set[str]] = {}
    for include in found:
        if include.target is not None and module(include.target) != module(include.file):
            edges.setdefault(module(include.file), set()).add(module(include.target))
    allowed = {name for name, room in rooms.items() if room.circle}
    for circle in circles(edges):
        inside = {room_of(node + ".h", rooms) for node in circle}
        text = f"a circle of {len(circle)} modules: " + ", ".join(circle)
        if len(inside) > 1:
            yield f"{text}; it goes through several rooms"
        elif not inside <= allowed:
            yield f"{text}; {inside.pop()} may have none"
        else:
            allowed -= inside  # a second one is one too many


def wrong_homes(root: pathlib.Path, rooms: Rooms) -> Iterator[str]:
    """Functions that are declared in one room and defined in another."""
    declared: set[tuple[str, str]] = set()
    defined: dict[str, str] = {}
    for file in sources(root):
        for match in FUNCTION.finditer(COMMENT.sub("", (root / file).read_text())):
            if match[3] == ";":
                declared.add((match[1], file))
            else:
                defined[match[1]] = file
    for name, file in sorted(declared):
        said, home = room_of(file, rooms), room_of(defined.get(name, file), rooms)
        if said != home:
            yield f"{file}: {name} is declared in {said}, but defined in {home} ({defined[name]})"


def mistakes(root: pathlib.Path, rooms: Rooms = ROOMS) -> list[str]:
    """All that is wrong, a line each."""
    found = list(includes(root))
    wrong = [wrong_include(include, rooms) for include in found]
    return [
        *wrong_table(rooms),
        *wrong_files(root, rooms),
        *(text for text in wrong if text is not None),
        *wrong_circles(found, rooms),
        *wrong_homes(root, rooms),
    ]


def main() -> int:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    wrong = mistakes(root)
    for text in wrong:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
