"""How large the files and functions are, and how many constants were chosen by measurement.

    python tests/lint/sizes.py [--figures] [--names] [FOLDER]

Fails on a file of 500 lines or more, and on a tuning constant outside core/tuning.h. --figures: prints
how many files, functions of more than 60 lines and tuning constants there are; --names: and which.
FOLDER: another checkout than this one.

A tuning constant is a name that stands for a number in core/ or binding/: a time, a size or a count
that somebody chose, and not a unit, a type, a structure, a documented limit or another system. What
RFC 6455, RFC 7692 or RFC 1951 say is none either.
"""

from __future__ import annotations

import argparse
import ast
import pathlib
import re
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LINES = 500  # a file has fewer
FUNCTION_LINES = 60  # a function has no more

C = ("core", "binding", "bench", "fuzz", "tests")
PYTHON = ("src", "bench", "fuzz", "tests", "examples", "docs")

DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(.+)$", re.MULTILINE)
ENUM = re.compile(r"^[ \t]+([A-Z][A-Z0-9_]+)[ \t]*=[ \t]*([^,\n]+),?", re.MULTILINE)
#: But those of bits: 1, 2, 4 ...
ANONYMOUS_ENUM = re.compile(r"\benum\s*{(?!\s*\w+ = 1,\s*\w+ = 2\b)([^}]*)}\s*;")
CONSTANT = re.compile(r"^(?:static )?const [\w ]+\b(\w+) = ([^;{]+);", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
#: A number, or a unit. Flags (0, 1) and single bits choose nothing.
NUMBER = re.compile(r"\bFWS_NS_PER_|(?<![\w.])(?!0\b(?!x)|1\b(?!\.|\s*<<\s*[1-9]\d))\d")
#: Names whose number nobody chose for speed or patience.
NOT_CHOSEN = {
    "FWS_NS_PER_S": "a unit",
    "FWS_NS_PER_MS": "a unit",
    "FWS_NS_PER_US": "a unit",
    "FWS_FOREVER": "a value apart",
    "FWS_CACHE_LINE": "the processor's",
    "HOT_LINES": "the structure's",
    "FWS_CLOSE_CODES": "the registry's",
    "SECONDS_MAX": "the type's",
    "FWS_HISTOGRAM_BUCKETS": "the structure's",
    "FWS_HOT_LINES": "the structure's",
    "FWS_BITMAP_WORD": "the type's",
    "FWS_SLAB_SIZE_MAX": "the structure's",
    "FWS_TABLE_NAME_SIZES": "the structure's",
    "FETCH_STAGE": "a third of FWS_FETCH_AHEAD",
    "ALIGNMENT": "the type's",
    "CAPACITY_MAX": "the type's",
    "COPIED_MAX": "the type's",
    "ZLIB_CHUNK": "the type's",
    "FWS_ASSEMBLY_MAX": "the type's",
    "SMALL_WINDOW_BITS": "the logarithm of FWS_DEFLATE_SHORT_MAX",
    "ASCII_BLOCK": "a cache line",
    "FWS_NEGOTIATION_TEXT_MAX": "the structure's",
    "FWS_STOP_TIMEOUT": "a documented limit",
    "FWS_CHANNEL_NAME_MAX": "a documented limit",
    "COMPRESSED_MAX": "a documented limit",
    "PING_WAIT_DEFAULT": "a documented default",
    "PING_PAYLOAD_SIZE": "enough that no two pings are alike",
}
#: Files of core/protocol whose numbers are a standard's.
STANDARDS = {
    "close.h": "RFC 6455 section 7.4",
    "connection.c": "RFC 6455 section 5.2",
    "deflate.h": "RFC 7692",
    "deflate_short.c": "RFC 1951",
    "frame.c": "RFC 6455 section 5.2",
    "frame.h": "RFC 6455 section 5.2",
    "handshake.c": "RFC 6455 section 4",
    "huffman.h": "RFC 1951",
    "negotiation.c": "RFC 7692",
    "utf8.c": "RFC 3629",
}
#: Where all of them stand; and next to it, tuning_threads.h.
TUNING = "core/tuning.h"


def files(root: pathlib.Path, folders: tuple[str, ...], *suffixes: str) -> list[pathlib.Path]:
    found = (path for folder in folders for path in (root / folder).rglob("*"))
    return sorted(path for path in found if path.suffix in suffixes and "__pycache__" not in path.parts)


def lines(path: pathlib.Path) -> int:
    return path.read_text().count("\n")


def large_files(root: pathlib.Path) -> Iterator[str]:
    everything = {*files(root, C, ".c", ".h"), *files(root, PYTHON, ".py", ".pyi")}
    for path in sorted(everything):
        if lines(path) >= LINES:
            yield f"{path.relative_to(root)}: {lines(path)} lines, and not fewer than {LINES}"


def c_functions(path: pathlib.Path) -> Iterator[tuple[str, int]]:
    """Name and length, from the line of its name to its last brace, as clang-format lays them out: a
    definition stands at the beginning of a line, and its body between braces that do, too."""
    begun, name = 0, ""
    for number, line in enumerate(path.read_text().split("\n")):
        if re.match(r"[A-Za-z_]", line):
            # The name stands before the first parenthesis; the parameters may go on in further lines.
            found = re.search(r"\b(\w+)\s*\(", line)
            if found and not line.rstrip().endswith(";") and "=" not in line[: found.start()]:
                begun, name = number, found[1]
            elif not found:
                name = ""
        elif line == "}" and name:
            yield name, number - begun + 1
            name = ""


def python_functions(path: pathlib.Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def long_functions(root: pathlib.Path) -> list[str]:
    """Those of the package itself: the C part, the binding, the face."""
    found = [
        (path, name, length)
        for path in files(root, ("core", "binding"), ".c", ".h")
        for name, length in c_functions(path)
    ]
    found += [
        (path, name, length)
        for path in files(root, ("src",), ".py")
        for name, length in python_functions(path)
    ]
    return [f"{p.relative_to(root)}: {n}, {x} lines" for p, n, x in found if x > FUNCTION_LINES]


def tuning_constants(root: pathlib.Path) -> list[str]:
    found: dict[tuple[pathlib.Path, str], str] = {}
    for path in files(root, ("core", "binding"), ".c", ".h"):
        if path.parent.name == "protocol" and path.name in STANDARDS:
            continue
        text = COMMENT.sub("", path.read_text())
        chosen = DEFINE.findall(text) + CONSTANT.findall(text)
        for body in ANONYMOUS_ENUM.findall(text):
            chosen += ENUM.findall("\n" + body)
        for name, value in chosen:
            if NUMBER.search(value) and name not in NOT_CHOSEN and '"' not in value:
                found.setdefault((path, name), value.strip())
    return [f"{path.relative_to(root)}: {name} = {value}" for (path, name), value in found.items()]


def misplaced_constants(root: pathlib.Path) -> Iterator[str]:
    for text in tuning_constants(root):
        if not text.startswith(TUNING.removesuffix(".h")):
            yield f"{text}: a tuning constant stands in {TUNING}"


def show(root: pathlib.Path, names: bool) -> None:
    core = files(root, ("core",), ".c", ".h")
    binding = files(root, ("binding",), ".c", ".h")
    face = files(root, ("src",), ".py")
    for title, found in (("core", core), ("binding", binding), ("flask_websockets", face)):
        print(f"{title}: {len(found)} files, {sum(lines(path) for path in found):,} lines")
    for title, listed in (
        (f"functions of more than {FUNCTION_LINES} lines", long_functions(root)),
        ("tuning constants", tuning_constants(root)),
    ):
        print(f"{title}: {len(listed)}")
        for text in listed if names else ():
            print(f"    {text}")
    if not names:
        where = sorted({text.partition(":")[0] for text in tuning_constants(root)})
        print(f"    in {len(where)} files")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--names", action="store_true")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT)
    options = parser.parse_args()
    if options.figures or options.names:
        show(options.folder, options.names)
    wrong = list(large_files(options.folder))
    if (options.folder / TUNING).exists():
        wrong += misplaced_constants(options.folder)
    for text in wrong:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
