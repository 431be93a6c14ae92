"""Everything that CI runs, with a line of progress for each part, ending in "N passed, N failed".

python tests/run_all.py [lint] [core] [python] [versions] [stress]
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Callable

import versions

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

C_FILES = (
    "core/*.[ch]",
    "core/*/*.[ch]",
    "binding/*.[ch]",
    "tests/core/*.[ch]",
    "bench/*.[ch]",
    "bench/*/*.[ch]",
    "fuzz/*.c",
)

#: Builds of the C part, each run whole: name -> meson options.
SANITIZED = {
    "C, AddressSanitizer + UBSan": ["-Db_sanitize=address,undefined"],
    "C, ThreadSanitizer": ["-Db_sanitize=thread"],
}
#: Of these, what knows a loop.
SANITIZED_POLL = {f"{title}, poll(2)": [*SANITIZED[title], "-Dloop=poll"] for title in SANITIZED}
LOOP_SUITES = {"engine"}


class Result:
    """Counts over all parts, and the name of each failure, which are printed again at the end."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.failures: list[str] = []

    def note_failure(self, where: str, why: str = "") -> None:
        """For the end of the output: what failed, and the first line of why."""
        self.failures.append(f"{where}: {why.strip().splitlines()[0][:160]}" if why.strip() else where)

    def add(self, passed: int, failed: int, skipped: int, begun: float) -> None:
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        text = f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
        print(f"    {text} ({time.monotonic() - begun:.0f} s)", flush=True)


def announce(title: str) -> float:
    print(f"== {title}", flush=True)
    return time.monotonic()


# ---- lint ----


def lint(result: Result) -> None:
    begun = announce(
        "clang-format, ruff, mypy --strict, stubtest, the house's arrows, sizes, docstrings"
    )
    files = [str(path) for pattern in C_FILES for path in sorted(ROOT.glob(pattern))]
    commands = [
        ["clang-format", "--dry-run", "--Werror", *files],
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["stubtest", "--mypy-config-file", "pyproject.toml", "flask_websockets._core"],
        [sys.executable, "tests/lint/house.py"],
        [sys.executable, "tests/lint/imports.py"],
        [sys.executable, "tests/lint/draw.py", "--check"],
        [sys.executable, "tests/lint/sizes.py"],
        [sys.executable, "tests/lint/stubs.py", "--check"],
    ]
    failed = 0
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            failed += 1
            name = " ".join(pathlib.Path(word).name for word in command[:2])
            print(f"{name}:\n{done.stdout}{done.stderr}")
            result.note_failure(name, done.stdout + done.stderr)
    result.add(len(commands) - failed, failed, 0, begun)


# ---- the C part ----


def run_c(
    result: Result, title: str, options: list[str], only: str = "", suites: set[str] | None = None
) -> None:
    begun = announce(title)
    folder = BUILD / re.sub(r"\W+", "-", title.lower())
    # AddressSanitizer's own library is found at run time only.
    common = [
        "-Dpython=disabled",
        "-Dtests=enabled",
        "-Doptimization=1",
        "-Db_lundef=false",
        "-Dwerror=true",
    ]
    if not (folder / "build.ninja").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            ["meson", "setup", str(folder), *common, *options],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    done = subprocess.run(["meson", "compile", "-C", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout + done.stderr)
        result.note_failure(f"{title}: it does not build")
        result.add(0, 1, 0, begun)
        return
    listed = subprocess.run(
        ["meson", "introspect", "--tests", str(folder)], capture_output=True, text=True, check=True
    )
    tests = []
    for test in json.loads(listed.stdout):
        named = {suite.split(":")[-1] for suite in test["suite"]}
        if only in test["name"] and (not suites or named & suites):
            tests.append(test)
    passed = failed = skipped = 0
    said = time.monotonic()
    # Two at a time, as most of them wait for most of their time.
    with concurrent.futures.ThreadPoolExecutor(1 if only else 2) as pool:
        running = [
            pool.submit(run_cmocka, result, folder, test["cmd"], float(test["timeout"]) * 3)
            for test in tests
        ]
        for done, one in enumerate(concurrent.futures.as_completed(running), 1):
            counts = one.result()
            passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
            if time.monotonic() - said >= 10:
                said = time.monotonic()
                print(f"    {done} of {len(tests)} programs", flush=True)
    result.add(passed, failed, skipped, begun)


def run_cmocka(
    result: Result, folder: pathlib.Path, command: list[str], timeout: float
) -> tuple[int, int, int]:
    """One test program; its single tests are counted from its XML report, a crash as one failure."""
    report = folder / (pathlib.Path(command[0]).name + ".xml")
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "CMOCKA_MESSAGE_OUTPUT": "xml",
        "CMOCKA_XML_FILE": str(report),
        "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        crashed = done.returncode != 0
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        crashed, output = True, f"{command[0]} did not end within {timeout:.0f} s: {error.stderr!r}"
    if pathlib.Path(command[0]).name.startswith("replay_") and not crashed:
        return 1, 0, 0  # a fuzz target over its kept corpus, which reports by its status alone
    name = f"{folder.name}/{pathlib.Path(command[0]).name}"
    if not report.exists():
        print(output)
        result.note_failure(name, output)
        return 0, 1, 0
    suite = xml.etree.ElementTree.parse(report).getroot()
    cases = list(suite.iter("testcase"))
    failed = 0
    for case in cases:
        found = [case.find("failure"), case.find("error")]
        reasons = [element.text or "" for element in found if element is not None]
        if reasons:
            failed += 1
            result.note_failure(f"{name} {case.attrib['name']}", reasons[0])
    skipped = sum(case.find("skipped") is not None for case in cases)
    if crashed:
        print(report.read_text() + output)
        if failed == 0:
            result.note_failure(name, output)
    # A sanitizer's report at the end, with all cases passed, is a failure too.
    extra = 1 if crashed and failed == 0 else 0
    return len(cases) - failed - skipped, failed + extra, skipped


def core(result: Result) -> None:
    if not pathlib.Path("/usr/include/cmocka.h").exists():
        print("== C part skipped: cmocka is missing (apt-get install libcmocka-dev)")
        result.skipped += 1
        return
    for title, options in SANITIZED.items():
        run_c(result, title, options)
    for title, options in SANITIZED_POLL.items():
        run_c(result, title, options, suites=LOOP_SUITES)


# ---- Python ----


def run_pytest(
    result: Result,
    title: str,
    arguments: list[str],
    environment: dict[str, str],
    python: pathlib.Path = pathlib.Path(sys.executable),
) -> None:
    begun = announce(title)
    report = BUILD / (re.sub(r"\W+", "-", title.lower()) + ".xml")
    BUILD.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    # Not `python -m pytest`, which would put the sources before what is installed.
    pytest = str(python.parent / "pytest")
    command = [pytest, "-q", "--no-header", f"--junit-xml={report}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment})
    if not report.exists():
        result.note_failure(f"{title}: it wrote no report")
        result.add(0, 1, 0, begun)
        return
    (suite,) = xml.etree.ElementTree.parse(report).getroot()
    for case in suite.iter("testcase"):
        for element in (*case.iter("failure"), *case.iter("error")):
            named = f"{case.attrib['classname']} {case.attrib['name']}"
            result.note_failure(named, element.attrib.get("message", ""))
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    skipped = int(suite.attrib["skipped"])
    passed = int(suite.attrib["tests"]) - failed - skipped
    if done.returncode != 0 and failed == 0:
        failed = 1  # it crashed, or a sanitizer reported after the last test
        result.note_failure(f"{title}: exit status {done.returncode}")
    result.add(passed, failed, skipped, begun)


#: Since 3.12, Python leaks interned strings when it ends. Other versions are let off nothing.
LEAKS_OF_PYTHON = "leak:PyUnicode_New\nleak:resize_compact\n" if sys.version_info >= (3, 12) else ""


def ignored(*names: str) -> list[str]:
    return [f"--ignore=tests/python/test_{name}.py" for name in names]


#: Not those of processes that are killed or reloaded, which say nothing of leaks and overruns that
#: these do not; and no greenlets, which move the stack under AddressSanitizer's feet: what is theirs in
#: C has its own tests (tests/core/test_notifier.c).
SANITIZED_TESTS = [
    "tests/python",
    "tests/servers/test_contract.py",
    "tests/servers/test_werkzeug.py",
    *ignored("bench", "docs", "docstrings", "elsewhere", "getting_started", "mutations", "tuning"),
    # Hundreds of handshakes in processes of their own; what is theirs in C is in test_core_hooks.py.
    "--deselect=tests/python/test_thrown_in.py::test_an_exception_at_any_place_of_a_handshake_leaves_nothing_behind",
]
# In this part async views run in asyncio's own event loop.
SANITIZED_KINDS = (
    "not uvloop and (not test_contract or werkzeug-single or gunicorn-gthread or cheroot-tls)"
)


def run_sanitized_pytest(result: Result) -> None:
    """The Python suite with the extension built with AddressSanitizer and UBSan."""
    title = "Python, extension with AddressSanitizer + UBSan"
    folder = BUILD / "python-asan"
    begun = announce(f"building for: {title}")
    install = folder / "install"
    if not (folder / "build.ninja").exists():
        shutil.rmtree(folder, ignore_errors=True)
        options = ["-Dtests=disabled", "-Db_sanitize=address,undefined", "-Doptimization=1"]
        options += ["-Db_lundef=false", "-Dpython.platlibdir=lib", "-Dpython.purelibdir=lib"]
        subprocess.run(
            ["meson", "setup", str(folder), f"--prefix={install}", *options],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    subprocess.run(["meson", "install", "-C", str(folder)], check=True, capture_output=True)
    # In this part async views run in asyncio's own event loop; in the other in uvloop's.
    (install / "lib" / "uvloop.py").write_text("raise ImportError('not in this part of the tests')\n")
    print(f"    built ({time.monotonic() - begun:.0f} s)", flush=True)
    compiler = os.environ.get("CC", "cc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    suppressions = folder / "leaks.txt"
    suppressions.write_text(LEAKS_OF_PYTHON)
    environment = {
        "LD_PRELOAD": library,
        "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(install / "lib"),
        "FWS_EXPECTED_CORE": str(install / "lib"),
    }
    run_pytest(
        result,
        title,
        [*SANITIZED_TESTS, "-k", SANITIZED_KINDS],
        environment,
    )


def python(result: Result) -> None:
    run_pytest(result, "Python, real servers, browser, Autobahn, soak", [], {})
    run_sanitized_pytest(result)


# ---- other versions of Python and Flask ----

#: What may differ between versions of Python: all of the package but what is looked at as text, and a
#: server with each kind of handler, mostly over TLS. Not what takes long for other reasons.
NEWEST_PYTHON_TESTS = [
    "tests/python",
    "tests/servers/test_contract.py",
    *ignored("applications", "bench", "docs", "docstrings", "elsewhere", "getting_started"),
    *ignored("mutations", "older_api", "slow_peers", "thread_bound", "tuning"),
]
NEWEST_PYTHON_KINDS = "not test_contract or werkzeug-tls or gunicorn-gthread or gunicorn-gevent-tls"
#: What may differ between versions of Flask: routes, contexts, and how a request leads to a handler.
OLDEST_FLASK_TESTS = [
    f"tests/python/test_{name}.py"
    for name in (
        "answering",
        "async_views",
        "class_view_routes",
        "class_views",
        "extension",
        "handshake",
        "middleware",
        "refusals",
        "reports",
        "returned",
        "views",
        "views_ends",
        "views_rows",
    )
]


def prepare(result: Result, title: str, make: Callable[[], pathlib.Path]) -> pathlib.Path | None:
    """None: it cannot be had, which is a failure in CI, and elsewhere counted as skipped."""
    begun = announce(f"installing for: {title}")
    try:
        made = make()
    except versions.Missing as error:
        print(f"    it cannot be had: {error}", flush=True)
        in_ci = bool(os.environ.get("CI"))
        if in_ci:
            result.note_failure(title, str(error))
        result.add(0, in_ci, not in_ci, begun)
        return None
    print(f"    installed ({time.monotonic() - begun:.0f} s)", flush=True)
    return made


@functools.cache
def newest_python() -> concurrent.futures.Future[pathlib.Path]:
    """It is installed in a thread, as most of that is waiting for the network."""
    return concurrent.futures.ThreadPoolExecutor(1).submit(versions.newest_python)


def other_versions(result: Result) -> None:
    title = f"Python {versions.text(versions.NEWEST)}"
    if sys.version_info[:2] == versions.NEWEST:
        print(f"== {title} is the one in use")
    else:
        python = prepare(result, title, newest_python().result)
        if python is not None:
            run_pytest(result, title, [*NEWEST_PYTHON_TESTS, "-k", NEWEST_PYTHON_KINDS], {}, python)
    title = " and ".join(versions.OLDEST_FLASK).replace("==", " ")
    folder = prepare(result, title, versions.oldest_flask)
    if folder is not None:
        expected = {"PYTHONPATH": str(folder), "FWS_EXPECTED_FLASK": str(folder)}
        run_pytest(result, title, OLDEST_FLASK_TESTS, expected)


def stress(result: Result) -> None:
    for title, options in SANITIZED.items():
        run_c(result, title, options, "stress")


#: What `make test` runs; "stress" by itself is for `make soak`.
PARTS = {"lint": lint, "core": core, "python": python, "versions": other_versions}
LONG_PARTS = {"stress": stress}


def main() -> int:
    result = Result()
    begun = time.monotonic()
    names = sys.argv[1:] or list(PARTS)
    if "versions" in names and sys.version_info[:2] != versions.NEWEST:
        newest_python()  # it begins
    for name in names:
        (PARTS | LONG_PARTS)[name](result)
    minutes = (time.monotonic() - begun) / 60
    print(f"\nall parts, {minutes:.1f} minutes")
    for failure in result.failures:
        print(f"failed: {failure}")
    text = f"{result.passed} passed, {result.failed} failed"
    print(text + (f", {result.skipped} skipped" if result.skipped else ""))
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
