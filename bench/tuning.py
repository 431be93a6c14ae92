"""Measure a tuning constant at half and at double its value, against the value that it has.

    python bench/tuning.py NAME [--values V,W] [--workloads class-50,...] [--pairs N] [--seconds S]
    python bench/tuning.py --list

NAME: a constant of core/tuning.h, or one of the switches FWS_USE_... of the speed devices, which is
measured at 0. Builds the package as users get it, once as it is and once with each of the two values,
in folders below build/tuning, and runs bench/pairs.py with each: as it is, then with the other value.
A ratio below 1 says that the other value is worse.

Without --workloads those of pairs.py are run that core/tuning.h names behind "Measure:". Where it names
another program or a test besides, that is printed: run it with PYTHONPATH=FOLDER.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pairs

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = [ROOT / "core" / name for name in ("tuning.h", "tuning_threads.h")]
BUILD = ROOT / "build" / "tuning"

CONSTANT = re.compile(r"^#ifndef (FWS_\w+)\n#define \1 (.+?)(?: /\*.*)?$", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
#: Of what a number is the logarithm, or a level: it goes up and down by one.
STEPPED = ("FWS_DEFLATE_SHORT_HASH_BITS", "FWS_THOROUGH_LEVEL")
#: Twice the value is refused by the compiler.
AT_MOST = ("FWS_DEFLATE_SHORT_MAX",)
SWITCH = "FWS_USE_"


@dataclass(frozen=True)
class Constant:
    """One of core/tuning.h."""

    name: str
    value: str  # as C has it
    measure: str  # what its comment says behind "Measure:"

    def workloads(self) -> list[str]:
        """Those of pairs.py, in the order in which they are named."""
        words = re.findall(r"[\w-]+", re.sub(r"--workloads \S+", "", self.measure))
        return [word for word in words if word in pairs.WORKLOADS]

    def others(self) -> list[tuple[str, str]]:
        """What to compare it with, and what each is called."""
        if self.name.startswith(SWITCH):
            return [("off", "0")]
        if self.name in STEPPED:
            return [("less by one", f"({self.value}-1)"), ("more by one", f"({self.value}+1)")]
        half, double = ("half", f"({self.value}/2)"), ("double", f"({self.value}*2)")
        return [half] if self.name in AT_MOST else [half, double]


#: For the switches, which share one comment: where each device works.
SWITCHED = {
    "FWS_USE_RECV_WAIT": "blocking-50 blocking-500",
    "FWS_USE_CORK": "blocking-50 blocking-500",
    "FWS_USE_GATE": "blocking-50 blocking-500",
    "FWS_USE_PREFETCH": "class-500 pipelined",
    "FWS_USE_RAW_CALLS": "class-50 pipelined",
    "FWS_USE_SCHED_BATCH": "bench/run.py --workloads gunicorn",
    "FWS_USE_WIDE_MASK": "bench/run.py --workloads micro",
    "FWS_USE_DEFLATE_SHORT": "compressed; bench/run.py --workloads micro",
}


def constants(text: str) -> dict[str, Constant]:
    """All of the header, each with the last comment before it."""
    found = {}
    for match in CONSTANT.finditer(text):
        name = match[1]
        comments = COMMENT.findall(text, 0, match.start())
        said = re.search(r"Measure: (.*?)\s*\*/", comments[-1], re.DOTALL)
        measure = re.sub(r"\s*\n \* ", " ", said[1]) if said else SWITCHED.get(name, "")
        found[name] = Constant(name, re.sub(r"\s", "", match[2]), measure)
    return found


def build(name: str, definition: str | None) -> pathlib.Path:
    """The folder of an installed package. Raises CalledProcessError."""
    folder = BUILD / name
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    command += ["--target", str(folder), f"--config-settings=build-dir={BUILD / 'build' / name}"]
    if definition is not None:
        command.append(f"--config-settings=setup-args=-Dc_args=-D{definition}")
    print(f"building {folder} with {definition or 'the values of the header'} ...", file=sys.stderr)
    subprocess.run([*command, str(ROOT)], check=True)
    return folder


def compare(before: pathlib.Path, after: pathlib.Path, options: argparse.Namespace) -> int:
    command = [sys.executable, str(ROOT / "bench" / "pairs.py"), str(before), str(after)]
    command += ["--workloads", options.workloads, "--pairs", str(options.pairs)]
    command += ["--seconds", str(options.seconds)]
    return subprocess.run(command).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--list", action="store_true", help="all constants, and what measures each")
    parser.add_argument("--values", help="instead of half and double, separated by commas")
    parser.add_argument("--workloads", help="of bench/pairs.py, separated by commas")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load for each")
    options = parser.parse_args()
    known = constants("".join(header.read_text() for header in HEADERS))
    if options.list:
        for constant in known.values():
            print(f"{constant.name:32} {constant.value:28} {constant.measure}")
        return 0
    if options.name not in known:
        parser.error(f"no constant of core/tuning.h: {options.name}; --list names them")
    constant = known[options.name]
    print(f"{constant.name} is {constant.value}. Measure: {constant.measure}", flush=True)
    others = constant.others()
    if options.values:
        others = [(value, value) for value in options.values.split(",")]
    options.workloads = options.workloads or ",".join(constant.workloads())
    try:
        before = build("as-it-is", None)
        folders = [
            (title, build(f"{constant.name}-{number}", f"{constant.name}={value}"))
            for number, (title, value) in enumerate(others)
        ]
    except subprocess.CalledProcessError as error:
        print(f"the build failed: {error}", file=sys.stderr)
        return 2
    if not options.workloads:
        print("bench/pairs.py has no workload for it; the packages:", before, *(f for _, f in folders))
        return 0
    results = []
    for title, folder in folders:
        print(f"\n{constant.name}, {title}", flush=True)
        results.append(compare(before, folder, options))
    return max(results) if 2 in results else 0


if __name__ == "__main__":
    sys.exit(main())
