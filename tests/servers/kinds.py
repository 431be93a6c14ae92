"""The servers that the contract is tested on: how each is started."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
#: Packages of other versions, or that take the place of others, installed beside these.
OTHERS = FOLDER.parent.parent / ".cache" / "other-servers"
GUNICORN_20 = ["gunicorn==20.1.0", "setuptools<81"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One server with its options.

    ``access`` is what its access log says about an accepted handshake of /echo; None: it has no such
    log. ``reloads``: SIGHUP makes new workers. ``sleeps``: time.sleep() in a handler holds up nobody
    else, which in greenlets takes monkey-patching.
    """

    name: str
    arguments: tuple[str, ...]
    access: str | None = r'"GET /echo HTTP/1.1" 101 '
    tls: bool = False
    reloads: bool = False
    sleeps: bool = True
    older: bool = False

    @property
    def threads(self) -> bool:
        """Are handlers threads, with a descriptor more for each?"""
        return not any("gevent" in argument or "eventlet" in argument for argument in self.arguments)

    def __str__(self) -> str:
        return self.name

    def command(self, port: int, certificate: tuple[str, str]) -> list[str]:
        tls = list(certificate) if self.tls else []
        program, *options = self.arguments
        if program == "serve":
            return [sys.executable, "-u", str(FOLDER / "serve.py"), *options, str(port), *tls]
        if program in ("uwsgi", "pyuwsgi"):
            socket = "--http" if "--http" in options else "--http-socket"
            options = [option for option in options if option != "--http"]
            command = [str(pathlib.Path(sys.executable).parent / "uwsgi")]
            if program == "pyuwsgi":
                command = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()"]
            command += [socket, f"127.0.0.1:{port}", "--master", "--die-on-term", "--need-app"]
            command += ["--wsgi-file", str(FOLDER / "contract_app.py"), "--callable", "app"]
            return [*command, "--home", sys.prefix, "--listen", "100", *options]
        command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--access-logfile", "-"]
        if tls:
            command += ["--certfile", tls[0], "--keyfile", tls[1]]
        if not self.older:
            command += ["--no-control-socket"]
        return [
            *command,
            "--chdir",
            str(FOLDER),
            "--graceful-timeout",
            "5",
            *options,
            "contract_app:app",
        ]

    def environment(self) -> dict[str, str]:
        if self.arguments[0] == "pyuwsgi":
            return {"PYTHONPATH": python_path(pyuwsgi())}
        return {"PYTHONPATH": python_path(older_gunicorn())} if self.older else {}

    def available(self) -> bool:
        program = self.arguments[0]
        if program == "pyuwsgi":
            return has_pyuwsgi()
        return program != "uwsgi" or (pathlib.Path(sys.executable).parent / "uwsgi").exists()


def python_path(folder: pathlib.Path) -> str:
    """Before what is there already, which may be the build to be tested."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def older_gunicorn() -> pathlib.Path:
    return installed("gunicorn-20.1", "gunicorn", GUNICORN_20)


def pyuwsgi() -> pathlib.Path:
    """In the environment of the tests it would take uwsgi's place."""
    return installed("pyuwsgi", "pyuwsgi", ["--only-binary", ":all:", "pyuwsgi"])


@functools.cache
def has_pyuwsgi() -> bool:
    try:
        pyuwsgi()
    except subprocess.CalledProcessError:  # there is no wheel for this system, or no network
        return False
    return True


def installed(name: str, module: str, requirements: list[str]) -> pathlib.Path:
    """A folder of that name that has them."""
    folder = OTHERS / name
    if not any(folder.glob(f"{module}*")):
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(folder), *requirements], check=True)
    return folder


def gunicorn(name: str, *options: str, **more: bool) -> Kind:
    return Kind(f"gunicorn-{name}", ("gunicorn", *options), reloads=True, **more)


def own(name: str, **more: object) -> Kind:
    return Kind(name, ("serve", name.removesuffix("-tls")), **more)  # type: ignore[arg-type]


UWSGI_ACCESS = r"GET /echo => generated 0 bytes .*\(HTTP/1.1 101\)"

KINDS = [
    own("werkzeug"),
    own("werkzeug-single"),
    gunicorn("sync"),
    gunicorn("sync-preload", "--preload"),
    gunicorn("gthread", "--threads", "2"),
    gunicorn("gevent", "-k", "gevent"),
    gunicorn("gevent-preload", "-k", "gevent", "--preload"),
    gunicorn("gevent-pywsgi", "-k", "gevent_pywsgi"),
    gunicorn("20.1-sync", older=True),
    gunicorn("20.1-gthread", "--threads", "2", older=True),
    gunicorn("20.1-gevent", "-k", "gevent", older=True),
    own("gevent", sleeps=False),
    own("gevent-patched"),
    own("eventlet", sleeps=False),
    own("eventlet-patched"),
    own("cheroot", access=None),
    Kind("uwsgi", ("uwsgi", "--enable-threads"), access=UWSGI_ACCESS),
    Kind("uwsgi-threads", ("uwsgi", "--threads", "4"), access=UWSGI_ACCESS),
    Kind("uwsgi-gevent", ("uwsgi", "--gevent", "100"), access=UWSGI_ACCESS, sleeps=False),
    Kind("pyuwsgi", ("pyuwsgi", "--enable-threads"), access=UWSGI_ACCESS),
    own("werkzeug-tls", tls=True),
    gunicorn("sync-tls", tls=True),
    gunicorn("gthread-tls", "--threads", "2", tls=True),
    gunicorn("gevent-tls", "-k", "gevent", tls=True),
    own("gevent-tls", tls=True, sleeps=False),
    own("cheroot-tls", access=None, tls=True),
]
