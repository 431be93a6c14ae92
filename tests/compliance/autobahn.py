"""The Autobahn test suite's fuzzing client, strict, against a blocking view of ours.

    python tests/compliance/autobahn.py [--report FOLDER] [CASES ...]

CASES are patterns such as "1.*" and "6.4.1"; without any, sections 1 to 7 and 10. Prints a progress
line, writes an HTML report and its index.json into FOLDER, and fails unless every case is OK (or
INFORMATIONAL, which is what the suite calls cases without a right answer).

The suite runs on Python 2.7 only. One is looked for in $PYTHON2, on the PATH and in pyenv; the suite
itself is then installed into .cache/.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "autobahn"
REQUIREMENT = "autobahntestsuite==0.8.2"
SECTIONS = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
GOOD = ("OK", "INFORMATIONAL")
START = "import site; site.addsitedir({!r}); from autobahntestsuite.wstest import run; run()"

SERVER = """
import logging
from flask import Flask
from flask_websockets import WebSocket, WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 32 * 1024 * 1024
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


def run(python: str, report: pathlib.Path, cases: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Run the cases; the result is by case, with "behavior" and "behaviorClose"."""
    port = free_port()
    report.mkdir(parents=True, exist_ok=True)
    specification = {
        "options": {"failByDrop": False},
        "outdir": str(report),
        "servers": [{"agent": "flask-websockets", "url": f"ws://127.0.0.1:{port}/echo"}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        spec = pathlib.Path(folder) / "fuzzingclient.json"
        spec.write_text(json.dumps(specification))
        server = subprocess.Popen([sys.executable, "-c", SERVER.format(port=port)], cwd=folder)
        try:
            wait_until_it_serves(server, port)
            command = [python, "-W", "ignore", "-c", START.format(str(CACHE))]
            with subprocess.Popen(
                [*command, "-m", "fuzzingclient", "-s", str(spec)],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as suite:
                show_progress(suite)
        finally:
            server.kill()
            server.wait()
    results: dict[str, dict[str, str]] = json.loads((report / "index.json").read_text())[
        "flask-websockets"
    ]
    return results


def wait_until_it_serves(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.02)
    raise RuntimeError("the server did not start")


def show_progress(suite: subprocess.Popen[str]) -> None:
    assert suite.stdout is not None
    lines = []
    for line in suite.stdout:
        lines.append(line)
        if line.startswith("Running test case ID"):
            case = line.split()[4]
            print(f"\rAutobahn {case:<10}", end="", flush=True)
    print()
    if suite.wait() != 0:
        raise RuntimeError("the Autobahn test suite failed:\n" + "".join(lines[-30:]))


def bad_cases(results: dict[str, dict[str, str]]) -> dict[str, tuple[str, str]]:
    return {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in results.items()
        if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "build" / "autobahn")
    parser.add_argument("cases", nargs="*", default=list(SECTIONS))
    options = parser.parse_args()
    python = python2()
    if python is None:
        print("needs a Python 2.7 with pip (set PYTHON2, or: pyenv install 2.7.18)")
        return 2
    install(python)
    results = run(python, options.report.resolve(), tuple(options.cases))
    counts = collections.Counter(result["behavior"] for result in results.values())
    print(f"{len(results)} cases: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    for case, outcome in sorted(bad_cases(results).items()):
        print(f"  {case}: {outcome[0]}, close {outcome[1]}")
    print(f"report: {options.report / 'index.html'}")
    return 1 if bad_cases(results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
