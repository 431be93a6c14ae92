"""Checks that the imports of the Python part go one way: no circle among its modules, and none among
its rooms, where a folder is a room, and so is a module outside of them. What only type checkers import,
and what a function imports, counts as well: ``interfaces.py`` is there for what knows each other.
"""

from __future__ import annotations

import ast
import graphlib
import pathlib
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src" / "flask_websockets"


def imports(root: pathlib.Path) -> dict[str, set[str]]:
    """For each module, by its path without the suffix, those of the package that it imports."""
    return {
        str(path.relative_to(root).with_suffix("")): {
            str(found.relative_to(root).with_suffix("")) for found in imported(path) if found.exists()
        }
        for path in root.rglob("*.py")
    }


def imported(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """What a module imports by relative names; a file of C, say, is none that exists."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for name in node.names:
                found = file_of(base / name.name)
                # The module written in C has a stub only.
                is_module = found.exists() or found.with_suffix(".pyi").exists()
                yield found if is_module else file_of(base)


def file_of(module: pathlib.Path) -> pathlib.Path:
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def rooms(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same of rooms."""
    found: dict[str, set[str]] = {}
    for name, others in modules.items():
        room = name.split("/")[0]
        others = {other.split("/")[0] for other in others} - {room}
        found.setdefault(room, set()).update(others)
    return found


def circle(graph: dict[str, set[str]]) -> str | None:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def mistakes(root: pathlib.Path) -> list[str]:
    modules = imports(root)
    # Of a folder, __init__ stands for all of it, for whoever is outside; inside, for itself.
    graphs = {"modules": modules, "rooms": rooms(modules)}
    return [
        f"a circle of {kind}: {found}" for kind, graph in graphs.items() if (found := circle(graph))
    ]


if __name__ == "__main__":
    sys.exit("\n".join(mistakes(ROOT)) or None)
