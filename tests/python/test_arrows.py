"""The modules of the package import each other one way: none is reached again from what it imports."""

from __future__ import annotations

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "flask_websockets"


def module_name(path: pathlib.Path, root: pathlib.Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolve(package: str, node: ast.ImportFrom) -> str:
    """The full name of what follows ``from``."""
    if node.level == 0:
        return node.module or ""
    parents = package.split(".")
    names = [*parents[: len(parents) - node.level + 1], node.module]
    return ".".join(filter(None, names))


def imports(path: pathlib.Path, name: str, modules: set[str]) -> set[str]:
    """The modules of the package that a file imports: anywhere in it, so also in a function, and also
    what is imported under ``TYPE_CHECKING``, as a reader follows that like any other import."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:  # a module of that package, or else a name in it
                submodule = f"{source}.{alias.name}"
                found.add(submodule if submodule in modules else source)
    return found & modules


def graph(root: pathlib.Path = ROOT / "src") -> dict[str, set[str]]:
    """What each module imports; the extension module in C by its stub, which imports none."""
    paths = [path for pattern in ("*.py", "*.pyi") for path in sorted((root / PACKAGE).rglob(pattern))]
    files = {module_name(path, root): path for path in paths}
    return {name: imports(path, name, set(files)) for name, path in files.items()}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The modules of one import circle, in order; none: there is no circle."""
    finished: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name not in finished:
            for target in sorted(arrows[name]):
                if found := follow(target, [*way, name]):
                    return found
            finished.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := follow(name, []))), [])


def test_no_module_imports_itself_through_others():
    assert circle(graph()) == []


def test_every_module_is_looked_at():
    arrows = graph()
    assert arrows[f"{PACKAGE}.extension"] >= {f"{PACKAGE}.runtime", f"{PACKAGE}.middleware"}
    assert arrows[f"{PACKAGE}.handlers"] >= {f"{PACKAGE}.handlers.gevent"}  # imported in a function


def test_an_import_for_types_closes_a_circle_too(tmp_path):
    folder = tmp_path / PACKAGE
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .first import name\n")
    (folder / "first.py").write_text("from . import second\n")
    (folder / "second.py").write_text("def f():\n    from .inner import third\n")
    (folder / "inner" / "__init__.py").write_text("")
    third = folder / "inner" / "third.py"
    third.write_text("")
    assert circle(graph(tmp_path)) == []
    third.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..first import Name\n"
    )
    names = [f"{PACKAGE}.{name}" for name in ("first", "second", "inner.third")]
    assert circle(graph(tmp_path)) == names
