"""The docstrings of the C part, in its stub as well: editors show those of the stub.

    python tests/lint/stubs.py [--check]

Writes them into ``_core.pyi``, from the module that is installed. With ``--check``, prints where they
differ, and exits with 1 if they do anywhere.
"""

from __future__ import annotations

import ast
import inspect
import pathlib
import sys
from collections.abc import Iterator

from flask_websockets import _core

STUB = pathlib.Path(__file__).resolve().parents[2] / "src" / "flask_websockets" / "_core.pyi"

Named = ast.ClassDef | ast.FunctionDef


def public(nodes: list[ast.stmt], owner: object, prefix: str = "") -> Iterator[tuple[str, Named, str]]:
    """Every public class, function, method and property: its name, its place, its docstring in C."""
    for node in nodes:
        if isinstance(node, Named) and not node.name.startswith("_"):
            value = getattr(owner, node.name)
            yield prefix + node.name, node, inspect.getdoc(value) or ""
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, value, f"{prefix}{node.name}.")


def differences(text: str) -> list[str]:
    """The names whose docstring is missing, or is not that of the stub."""
    return [
        name
        for name, node, docstring in public(ast.parse(text).body, _core)
        if not docstring or ast.get_docstring(node) != docstring
    ]


def written(text: str) -> str:
    """The stub with the docstrings of the module."""
    lines = text.splitlines()
    for _, node, docstring in reversed(list(public(ast.parse(text).body, _core))):
        indent = " " * (node.col_offset + 4)
        quoted = [f"{indent}{line}".rstrip() for line in f'"""{docstring}"""'.splitlines()]
        first = node.body[0]
        value = first.value if isinstance(first, ast.Expr) else None
        if ast.get_docstring(node) is not None:
            lines[first.lineno - 1 : first.end_lineno] = quoted
        elif isinstance(value, ast.Constant):  # "...", on the line of the colon
            colon = first.lineno - 1
            lines[colon : colon + 1] = [lines[colon].removesuffix("...").rstrip(), *quoted]
        else:
            decorators = getattr(first, "decorator_list", [])
            start = min(each.lineno for each in (first, *decorators)) - 1
            lines[start:start] = [*quoted, ""]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    stub = STUB.read_text()
    if "--check" not in sys.argv[1:]:
        STUB.write_text(written(stub))
    elif wrong := differences(stub):
        sys.exit(f"{STUB.name}: no docstring, or another than in C: {', '.join(wrong)}; run {__file__}")
