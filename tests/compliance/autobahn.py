"""The Autobahn test suite, strict: its fuzzing client against a blocking view of ours, and its fuzzing
server against our client role.

    python tests/compliance/autobahn.py [--role server|client] [--report FOLDER] [CASES ...]

CASES are patterns such as "1.*" and "6.4.1"; without any, all sections. Prints a progress line, writes
for each role an HTML report into FOLDER/ROLE and all results into FOLDER/result.json, and fails unless
every case is OK (or INFORMATIONAL, which is what the suite calls cases without a right answer).

The suite runs on Python 2.7 only. One is looked for in $PYTHON2, on the PATH and in pyenv; the suite
itself is then installed into .cache/.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import client

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "autobahn"
REQUIREMENT = "autobahntestsuite==0.8.2"
SECTIONS = tuple(f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13))
GOOD = ("OK", "INFORMATIONAL")
AGENT = "flask-websockets"
START = "import site; site.addsitedir({!r}); from autobahntestsuite.wstest import run; run()"

Results = dict[str, dict[str, Any]]

SERVER = """
import logging
from flask import Flask
from flask_websockets import WebSocket, WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 32 * 1024 * 1024
app.config["WEBSOCKETS_COMPRESSION"] = {{"context_takeover": True, "threshold": 0}}
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)

app.run(host="127.0.0.1", port={port})
"""


def python2() -> str | None:
    """A Python 2.7 that runs, or None."""
    candidates = [os.environ.get("PYTHON2"), shutil.which("python2.7"), shutil.which("python2")]
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    candidates += [str(path) for path in sorted(pyenv.glob("versions/2.7*/bin/python2.7"))]
    for candidate in filter(None, candidates):
        version = [candidate, "-c", "import sys, pip; print(sys.version_info[:2] == (2, 7))"]
        if subprocess.run(version, capture_output=True, check=False).stdout == b"True\n":
            return candidate
    return None


def install(python: str) -> None:
    done = CACHE / "installed"
    if done.exists():
        return
    print("installing the Autobahn test suite ...", flush=True)
    subprocess.run(
        [python, "-W", "ignore", "-m", "pip", "install", "-q", "--target", str(CACHE), REQUIREMENT],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    done.touch()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def read_results(report: pathlib.Path) -> Results:
    """By case, with "behavior", "behaviorClose" and "duration" (ms)."""
    results: Results = json.loads((report / "index.json").read_text())[AGENT]
    return results


@contextlib.contextmanager
def suite(python: str, mode: str, specification: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The test suite at work; its output is a pipe."""
    with tempfile.TemporaryDirectory() as folder:
        spec = pathlib.Path(folder) / "spec.json"
        spec.write_text(json.dumps(specification))
        command = [
            python,
            "-u",
            "-W",
            "ignore",
            "-c",
            START.format(str(CACHE)),
            "-m",
            mode,
            "-s",
            str(spec),
        ]
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def show(text: str) -> None:
    """The progress line of `make compliance`."""
    print(f"\r{text:<40}", end="", flush=True)


# ---- the server's role ----


def run_server_role(
    python: str, report: pathlib.Path, cases: tuple[str, ...], say: Callable[[str], None] = show
) -> Results:
    """The fuzzing client against a view; returns what it found."""
    port = free_port()
    report.mkdir(parents=True, exist_ok=True)
    specification = {
        "options": {"failByDrop": False},
        "outdir": str(report),
        "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}/echo"}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    # Elsewhere than in the sources: what is installed is tested.
    server = subprocess.Popen([sys.executable, "-c", SERVER.format(port=port)], cwd=report)
    try:
        wait_until_it_serves(server, port)
        with suite(python, "fuzzingclient", specification) as process:
            show_progress(process, say)
    finally:
        server.kill()
        server.wait()
    return read_results(report)


def wait_until_it_serves(server: subprocess.Popen[Any], port: int) -> None:
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.02)
    raise RuntimeError("the server did not start")


def show_progress(process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Running test case ID"):
            say(f"Autobahn, our server: case {line.split()[4]}")
    if process.wait() != 0:
        raise RuntimeError("the Autobahn test suite failed:\n" + "".join(lines[-30:]))


# ---- the client's role ----


def run_client_role(
    python: str, report: pathlib.Path, cases: tuple[str, ...], say: Callable[[str], None] = show
) -> Results:
    """The fuzzing server against a client on our engine; returns what it found."""
    port = free_port()
    report.mkdir(parents=True, exist_ok=True)
    specification = {
        "url": f"ws://127.0.0.1:{port}",
        "webport": 0,
        "options": {"failByDrop": False},
        "outdir": str(report),
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    engine = client.make_engine()
    with suite(python, "fuzzingserver", specification) as process:
        wait_until_it_serves(process, port)
        count = int(client.receive_one(engine, port, "/getCaseCount"))
        for case in range(1, count + 1):
            say(f"Autobahn, our client: {case} of {count}")
            ws = client.connect(engine, port, f"/runCase?case={case}&agent={AGENT}")
            client.echo_until_closed(ws)
        client.echo_until_closed(client.connect(engine, port, f"/updateReports?agent={AGENT}"))
    engine.stop()
    return read_results(report)


ROLES = {"server": run_server_role, "client": run_client_role}


def bad_cases(results: Results) -> dict[str, tuple[str, str]]:
    return {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in results.items()
        if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD
    }


def summary(role: str, results: Results) -> str:
    counts = collections.Counter(result["behavior"] for result in results.values())
    return f"{role}: {len(results)} cases: " + ", ".join(
        f"{n} {name}" for name, n in sorted(counts.items())
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=tuple(ROLES), action="append")
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "build" / "autobahn")
    parser.add_argument("cases", nargs="*", default=list(SECTIONS))
    options = parser.parse_args()
    python = python2()
    if python is None:
        print("needs a Python 2.7 with pip (set PYTHON2, or: pyenv install 2.7.18)")
        return 2
    install(python)
    failed = False
    everything: dict[str, Results] = {}
    folder = options.report.resolve()
    for role in options.role or list(ROLES):
        results = everything[role] = ROLES[role](python, folder / role, tuple(options.cases))
        print("\r" + summary(role, results))
        for case, outcome in sorted(bad_cases(results).items()):
            print(f"  {case}: {outcome[0]}, close {outcome[1]}")
        print(f"  report: {options.report / role / 'index.html'}", flush=True)
        failed = failed or bool(bad_cases(results)) or not results
    (folder / "result.json").write_text(json.dumps(everything, indent=1, sort_keys=True))
    print(f"all results: {options.report / 'result.json'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
