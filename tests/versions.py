"""Another Python and another Flask than those in use, for a part of the tests: both are prepared in
.cache, and found there again."""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

#: The newest Python that the project names.
NEWEST = (3, 14)
#: It is on few systems, so it comes from Maven Central where there is none.
MAVEN = "org.bytedeco:cpython:3.14.3-1.5.13:jar:linux-x86_64"
#: The oldest Flask that the project takes, and a Werkzeug of its time.
OLDEST_FLASK = ["Flask==2.2.0", "Werkzeug==2.2.0"]
#: Of requirements-dev.txt, what the tests below need. No tools, and nothing that has to be compiled.
PACKAGES = (
    "cheroot",
    "eventlet",
    "gevent",
    "gunicorn",
    "hypothesis",
    "msgspec",
    "pytest",
    "pytest-timeout",
    "trustme",
    "uvloop",
    "websocket-client",
    "websockets",
    "wsproto",
)


class Missing(Exception):
    """It cannot be had on this machine; the text says why, and what to do."""


def newest_python() -> pathlib.Path:
    """A Python in which the project and what its tests need are installed.

    :raises Missing: and why.
    """
    folder = CACHE / f"python-{text(NEWEST)}"
    python = folder / "venv" / "bin" / "python"
    if not works(python):
        shutil.rmtree(folder / "venv", ignore_errors=True)
        call([str(base_python(folder)), "-m", "venv", str(folder / "venv")])
    wanted = sorted({line.split("#")[0].strip() for line in read(ROOT / "requirements-dev.txt")})
    wanted = [line for line in wanted if line.split(">")[0].split("=")[0] in PACKAGES]
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    call([*pip, "--only-binary", ":all:", *wanted])
    call([*pip, f"--config-settings=build-dir=build/wheel-{text(NEWEST)}", "."])
    return python


def base_python(folder: pathlib.Path) -> pathlib.Path:
    for candidate in candidates():
        if works(candidate):
            return candidate
    downloaded = folder / "org/bytedeco/cpython/linux-x86_64/bin" / f"python{text(NEWEST)}"
    if not works(downloaded):
        download(folder)
    if not works(downloaded):
        raise Missing(f"{downloaded} does not run here, or has no headers")
    return downloaded


def candidates() -> Iterator[pathlib.Path]:
    found = shutil.which(f"python{text(NEWEST)}")
    if found is not None:
        yield pathlib.Path(found)
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{text(NEWEST)}*/bin/python{text(NEWEST)}"))


def works(python: pathlib.Path) -> bool:
    """Is it that version, with what the tests need of the standard library, and its headers?"""
    program = (
        "import asyncio, os, sqlite3, ssl, sys, sysconfig, venv\n"
        f"right = sys.version_info[:2] == {NEWEST} and not getattr(sys, 'abiflags', '')\n"
        "sys.exit(not (right and os.path.exists(sysconfig.get_path('include') + '/Python.h')))"
    )
    try:
        return subprocess.run([str(python), "-c", program], capture_output=True).returncode == 0
    except OSError:
        return False


def download(folder: pathlib.Path) -> None:
    advice = f"Put a python{text(NEWEST)} with its headers on the PATH"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Missing(f"there is none to download for this machine. {advice}")
    if shutil.which("mvn") is None:
        raise Missing(f"Maven, which downloads it, is missing. {advice}, or apt-get install maven")
    folder.mkdir(parents=True, exist_ok=True)
    goal = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={MAVEN}"]
    call([*goal, f"-DoutputDirectory={folder}", "-Dmdep.stripVersion=true"])
    (archive,) = folder.glob("*.jar")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    archive.unlink()
    for program in folder.glob("org/bytedeco/cpython/*/bin/*"):
        program.chmod(0o755)


def oldest_flask() -> pathlib.Path:
    """A folder for PYTHONPATH.

    :raises Missing: and why.
    """
    folder = CACHE / "flask-{}".format(OLDEST_FLASK[0].partition("==")[2])
    if not (folder / "flask").exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        call([*pip, "--target", str(folder), *OLDEST_FLASK])
    return folder


def call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(f"{' '.join(command[:4])} failed: {said[-1] if said else done.returncode}")


def read(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines()


def text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
