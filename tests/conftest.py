"""What the Python tests share: real servers on real ports, and ways to look into a process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
import websocket
from werkzeug.serving import make_server

import flask_websockets
from flask_websockets import WebSockets, records
from flask_websockets.handlers import threads
from flask_websockets.tls import relay

#: A server that is interrupted ends with handlers still on their stacks: what those hold is no leak.
#: Leaks are looked for in the process of the tests. Without a sanitizer this means nothing.
WITHOUT_LEAK_CHECK = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}

pytest_plugins = ["serving", "relaying"]

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_report_header() -> str:
    loaded = pathlib.Path(flask_websockets._core.__file__)
    expected = os.environ.get("FWS_EXPECTED_CORE")
    if expected is not None and not loaded.is_relative_to(expected):
        pytest.exit(f"testing {loaded}, which is not the build in {expected}", 2)
    expected = os.environ.get("FWS_EXPECTED_FLASK")
    if expected is not None and not pathlib.Path(flask.__file__).is_relative_to(expected):
        pytest.exit(f"testing with {flask.__file__}, which is not the Flask in {expected}", 2)
    return f"extension: {loaded}, Flask: {importlib.metadata.version('flask')}"


def thread_names() -> list[str]:
    """Of this process, as the system shows them."""
    names = []
    for path in pathlib.Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            names.append(path.read_text().strip())
    return names


def pytest_unconfigure() -> None:
    """End the threads that would otherwise be killed inside a Python function: what such a function
    refers to looks like a leak to a sanitizer."""
    for one in list(relay._relays.values()):
        one.stop()
    for thread in threading.enumerate():
        if isinstance(thread, threads.Worker):
            thread.join(2 * threads.IDLE_TIME)
    deadline = time.monotonic() + 5
    while "fws-tls" in thread_names() and time.monotonic() < deadline:
        time.sleep(0.01)


def free_port() -> int:
    """One that no connection of this machine is given as its own between now and the server's start."""
    given = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(10_000, given - 1000), given), 100):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    pytest.fail("no port is free")


def wait_for(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """Wait for something that another thread or process brings about; fails when it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    pytest.fail(f"waited {seconds} s in vain for {what or condition}")


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def run_to_the_end(program: str, timeout: float = 50.0) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, with the path of the tests. It must end without an error,
    within so many seconds."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n" + program],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **WITHOUT_LEAK_CHECK},  # what the interpreter leaves is not looked at
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def progress(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Says where a long test stands, past the capture, at most every ten seconds."""
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        if time.monotonic() - said >= 10:
            said = time.monotonic()
            with capsys.disabled():
                print(f"\n    {text}", end="", flush=True)

    return say


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    """What is logged once a minute is logged once a test."""
    records.seldom._said.clear()


class Program:
    """A Python program that serves on a port, in a process of its own, as a user starts it."""

    def __init__(
        self, folder: pathlib.Path, source: str | None, port: int, command: list[str] | None, env: dict
    ):
        self.port = port
        self.clients: list[websocket.WebSocket] = []
        self.log_path = folder / "log.txt"
        self.path = folder / "app.py"
        if source is not None:
            self.path.write_text(source)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command or [sys.executable, "-u", str(self.path)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **env, **WITHOUT_LEAK_CHECK},
                # Ctrl-C reaches a program's whole process group, and not the tests.
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        wait_for(lambda: accepts(port) or self.process.poll() is not None, 30, "the server to start")
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> websocket.WebSocket:
        self.clients.append(websocket.create_connection(self.url(path), timeout=10, **options))
        return self.clients[-1]

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)

    def kill(self) -> None:
        for client in self.clients:
            client.shutdown()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def program(tmp_path: pathlib.Path) -> Iterator[Callable[..., Program]]:
    """Starts programs; each is killed at the end of the test."""
    started: list[Program] = []

    def start(
        source: str | None = None,
        port: int | None = None,
        command: list[str] | None = None,
        env: dict | None = None,
    ) -> Program:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        port = port or free_port()
        source = source.replace("PORT", str(port)) if source is not None else None
        started.append(Program(folder, source, port, command, env or {}))
        return started[-1]

    yield start
    for one in started:
        one.kill()


class Server:
    """An application on the Werkzeug server, in a thread of the tests, to look into."""

    def __init__(self, app: flask.Flask, websockets: WebSockets) -> None:
        self.app = app
        self.websockets = websockets
        self.http = make_server("127.0.0.1", 0, app, threaded=True)
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.clients: list[websocket.WebSocket] = []

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> websocket.WebSocket:
        client = websocket.create_connection(self.url(path), timeout=10, **options)
        self.clients.append(client)
        return client

    def request(self, text: str) -> bytes:
        """Send a raw HTTP request and read the whole answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(text.replace("\n", "\r\n").encode("latin-1"))
            answer = b""
            while more := connection.recv(65536):
                answer += more
            return answer

    def stop(self) -> None:
        for client in self.clients:
            client.shutdown()
        runtime = self.app.extensions["flask_websockets.runtime"]
        runtime.shut_down()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        wait_for(lambda: runtime._handlers == 0, what="the handlers to end")


class Application:
    """An app with its extension, and the server once it is started."""

    def __init__(self, app: flask.Flask | None = None) -> None:
        self.app = app or flask.Flask("tested")
        self.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 2
        self.websockets = WebSockets(self.app)
        self.route = self.websockets.route
        self.server: Server | None = None

    def serve(self) -> Server:
        self.server = Server(self.app, self.websockets)
        return self.server


@pytest.fixture
def application() -> Iterator[Application]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    one = Application()
    yield one
    if one.server is not None:
        one.server.stop()
