"""The servers that are measured: ours, and the peers, in an environment of their own."""

from __future__ import annotations

import ctypes.util
import os
import pathlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
PEERS = ROOT / ".cache" / "bench-peers"
CERTIFICATE = BUILD / "certificate"
REQUIREMENTS = [
    "flask-sock==0.7.0",
    "gevent==26.9.0",
    "gunicorn==27.0.1",
    "packaging",
    "flask-socketio==5.7.0",
    "flask-websockets==0.1.2",
    "granian==2.8.7",
    "picows==2.3.1",
    "socketify==0.0.31",  # carries uWebSockets as a shared library, see uws_echo.c
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "websockets==16.0",
]

OURS = "flask-websockets"
FLOOR = "bare epoll (C)"
THREADS_FLOOR = "bare threads (C)"
UWS = "uWebSockets (C++)"
SOCKETIO = "Flask-SocketIO"
BROADCAST = "websockets, broadcast()"

#: What the load generator has to be told to speak with them.
SPEAKS = {SOCKETIO: ("socketio",)}

Command = Callable[[int], list[str]]


@dataclass
class Servers:
    """By workload: a name, and the command that serves /echo on a port."""

    plain: dict[str, Command]
    compressed: dict[str, Command]
    class_views: dict[str, Command]
    async_views: dict[str, Command]
    frameworks: dict[str, Command]
    fanout: dict[str, Command]
    channels: dict[str, Command]
    tls: dict[str, Command]


def servers() -> Servers:
    folder = ROOT / "bench" / "servers"
    peer_python = str(PEERS / "bin" / "python")

    def script(python: str, name: str, *more: str) -> Command:
        return lambda port: [python, str(folder / name), str(port), *more]

    ours = script(sys.executable, "ours.py")
    ours_class = script(sys.executable, "ours_class.py")
    # Where there is no uvloop, it is that of the peers.
    with_uvloop = next((str(path) for path in PEERS.glob("lib/python3*/site-packages")), "")
    bare_echo = str(BUILD / "bench" / "bare_echo")
    library = uwebsockets()
    uws: dict[str, Command] = {}
    uws_fanout: dict[str, Command] = {}
    socketify: dict[str, Command] = {}
    if library is not None:
        uws_echo = str(BUILD / "bench" / "uws_echo")
        uws[UWS] = lambda port: [uws_echo, str(library), str(port)]
        uws_fanout[UWS] = lambda port: [uws_echo, str(library), str(port), "fanout"]
        socketify["socketify (Python in uWS)"] = script(peer_python, "socketify_echo.py")
    picows = {"picows, uvloop": script(peer_python, "picows_echo.py")}
    websockets = script(peer_python, "websockets_echo.py", "uvloop")
    flask_sock = script(peer_python, "flask_sock_echo.py")
    tls = {**picows, OURS: ours_class, "websockets, uvloop": websockets, "flask-sock": flask_sock}
    return Servers(
        class_views={**uws, **picows, OURS: ours_class},
        async_views={
            **picows,
            OURS: script(sys.executable, "ours_async.py", with_uvloop),
            "websockets, uvloop": websockets,
        },
        frameworks={
            OURS: ours_class,
            SOCKETIO: script(peer_python, "flask_socketio_echo.py"),
            "uvicorn, uvloop": script(peer_python, "asgi_echo.py", "uvicorn"),
            "granian, uvloop": script(peer_python, "asgi_echo.py", "granian"),
            **socketify,
        },
        fanout={
            **uws_fanout,
            OURS: ours_class,
            "websockets, uvloop": script(peer_python, "websockets_fanout.py"),
        },
        channels={
            OURS: script(sys.executable, "ours_channels.py"),
            BROADCAST: script(peer_python, "websockets_channels.py"),
        },
        tls={name: with_tls(command) for name, command in tls.items()} if speaks_tls() else {},
        plain={
            FLOOR: lambda port: [bare_echo, str(port)],
            THREADS_FLOOR: lambda port: [bare_echo, str(port), "threads"],
            **uws,
            **picows,
            OURS: ours,
            "flask-websockets 0.1.2": script(peer_python, "flask_websockets_012.py"),
            "flask-sock": flask_sock,
        },
        compressed={
            **uws,
            OURS: ours,
            "websockets, uvloop": websockets,
            "websockets": script(peer_python, "websockets_echo.py"),
        },
    )


def uwebsockets() -> pathlib.Path | None:
    """Its library, or None where it cannot be loaded; says why. UWEBSOCKETS in the environment names
    another one, with its C interface: one built on epoll, say, and for this processor."""
    if "UWEBSOCKETS" in os.environ:
        return pathlib.Path(os.environ["UWEBSOCKETS"]).resolve(strict=True)
    found = sorted(PEERS.glob("lib/python3*/site-packages/socketify/libsocketify_linux_amd64.so"))
    if not found:
        print("uWebSockets is left out: socketify has no library for this machine")
    elif ctypes.util.find_library("uv") is None:
        print("uWebSockets is left out: apt-get install libuv1")
    else:
        return found[0]
    return None


def with_tls(command: Command) -> Command:
    """The same server, with the certificate."""
    return lambda port: ["env", f"CERTIFICATE={CERTIFICATE}", *command(port)]


def speaks_tls() -> bool:
    """Does the load generator? Says so when it does not."""
    usage = subprocess.run([BUILD / "bench" / "loadgen"], capture_output=True, text=True).stderr
    if "[tls]" in usage:
        return True
    print(f"TLS is left out: apt-get install libssl-dev, and remove {BUILD}")
    return False


def build() -> None:
    """Build the C programs, where that has not happened."""
    meson = shutil.which("meson") or str(pathlib.Path(sys.executable).parent / "meson")
    if not (BUILD / "build.ninja").exists():
        options = ["-Dpython=disabled", "-Dtests=disabled", "-Dbench=true"]
        subprocess.run(
            [meson, "setup", str(BUILD), *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
    subprocess.run([meson, "compile", "-C", str(BUILD)], check=True, stdout=subprocess.DEVNULL)


def prepare() -> None:
    """Build the C programs, make the certificate and install the peers, where that has not happened."""
    build()
    if not CERTIFICATE.exists():
        CERTIFICATE.mkdir(parents=True)
        command = [sys.executable, "-m", "trustme", "-q", "-d", str(CERTIFICATE), "-i", "127.0.0.1"]
        subprocess.run(command, check=True)
    done = PEERS / "installed.txt"
    if not done.exists() or done.read_text().split() != REQUIREMENTS:
        print("installing the peers ...", flush=True)
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([PEERS / "bin" / "pip", "install", "-q", *REQUIREMENTS], check=True)
        done.write_text("\n".join(REQUIREMENTS))
