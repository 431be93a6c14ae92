"""Fuzz each target for a while, keep what is new, and fail on a finding.

    python fuzz/run.py [--seconds N] [TARGET ...]

Needs clang with its libFuzzer (Debian: apt-get install clang libclang-rt-14-dev, or the rt package of
your clang). Sanitizers are on. New inputs that reach new code are merged into fuzz/corpus/TARGET; a
finding is left in build/fuzz/.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
CORPUS = ROOT / "fuzz" / "corpus"
TARGETS = ("channels", "connection", "deflate", "frame", "handshake")
INPUT_MAX = 8192  # bytes


def build() -> None:
    if not (BUILD / "build.ninja").exists():
        options = ["-Dpython=disabled", "-Dtests=disabled", "-Dfuzz=true", "-Db_lundef=false"]
        options += ["-Db_sanitize=address,undefined", "-Doptimization=1"]
        subprocess.run(
            ["meson", "setup", str(BUILD), *options],
            cwd=ROOT,
            env={**os.environ, "CC": "clang"},
            check=True,
        )
    subprocess.run(["meson", "compile", "-C", str(BUILD)], check=True)


def fuzz(target: str, seconds: int) -> bool:
    program = str(BUILD / "fuzz" / f"fuzz_{target}")
    kept = CORPUS / target
    with tempfile.TemporaryDirectory() as found:
        options = [f"-max_total_time={seconds}", f"-max_len={INPUT_MAX}", "-print_final_stats=1"]
        done = subprocess.run(
            [program, *options, f"-artifact_prefix={BUILD}/{target}-", found, str(kept)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            print(done.stderr[-5000:])
            return False
        executions = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        merge = [program, "-merge=1", f"-max_len={INPUT_MAX}", str(kept), found]
        subprocess.run(merge, check=True, stderr=subprocess.DEVNULL)
    count = len(list(kept.iterdir()))
    print(f"{target}: {int(executions[1]) if executions else 0:,} executions, {count} inputs kept")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=1200, help="for each target")
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    options = parser.parse_args()
    if shutil.which("clang") is None:
        print("needs clang: apt-get install clang libclang-rt-14-dev")
        return 2
    build()
    results = []
    for target in options.targets:
        print(f"fuzzing {target} for {options.seconds} s ...", flush=True)
        results.append(fuzz(target, options.seconds))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
