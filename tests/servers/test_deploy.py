"""The other files of docs/deploy: what they need is there, and fits together."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from conftest import ROOT, Server, wait_for
from flask import Flask, url_for
from werkzeug.middleware.dispatcher import DispatcherMiddleware

DEPLOY = ROOT / "docs" / "deploy"
UNIT = (DEPLOY / "application.service").read_text()


def packages_in(text: str) -> list[str]:
    """What a line of apt-get installs."""
    line = re.search(r"apt-get install ([^&`\n]*)", text)
    assert line is not None, text
    return line[1].split()


@pytest.mark.parametrize("name", ["README.md", "docs/deploy/Dockerfile"])
def test_what_is_installed_to_compile_is_enough(name, tmp_path):
    """Into a Debian that has nothing: a compiler, and the headers of the C library and of zlib."""
    if shutil.which("apt-get") is None:
        pytest.skip("this is no Debian")
    empty = tmp_path / "status"
    empty.touch()
    arguments = [part for part in packages_in((ROOT / name).read_text()) if part != "-y"]
    options = ["-o", f"Dir::State::status={empty}", "--no-install-recommends"]
    done = subprocess.run(
        ["apt-get", *options, "install", "-s", *arguments], capture_output=True, text=True
    )
    if "Unable to locate package" in done.stderr:
        pytest.skip("apt-get has no lists (apt-get update)")
    installed = set(re.findall(r"^Inst (\S+)", done.stdout, re.MULTILINE))
    assert {"gcc", "libc6-dev", "zlib1g-dev"} <= installed, done.stderr


def test_the_image_has_this_package(tmp_path):
    """Not the one of this name that a registry has; from the folder that is there."""
    text = (DEPLOY / "Dockerfile").read_text()
    assert "COPY flask-websockets /flask-websockets\n" in text
    (install,) = re.findall(r"RUN pip install (.*)", text)
    assert install.split()[-3:] == ["/flask-websockets", "-r", "requirements.txt"]


def test_the_unit_is_in_order(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = re.search(r"^ExecStart=(\S+)", UNIT, re.MULTILINE)
    assert program is not None and program[1].endswith("/.venv/bin/gunicorn")
    unit = tmp_path / "application.service"
    unit.write_text(UNIT.replace(program[1], "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_makes_the_folder_of_the_socket_that_the_proxies_name():
    folder = re.search(r"^RuntimeDirectory=(\S+)$", UNIT, re.MULTILINE)
    assert folder is not None
    socket = f"/run/{folder[1]}/http.sock"
    assert f"--bind unix:{socket}" in UNIT
    assert f"unix:{socket}" in (DEPLOY / "nginx.conf").read_text()
    assert f"unix/{socket}" in (DEPLOY / "Caddyfile").read_text()


def test_an_application_that_a_dispatcher_mounts(application):
    """docs/deploy/README.md: its websockets are under the prefix as well, and url_for() knows."""

    @application.route("/echo")
    def echo(ws):
        ws.send(url_for("echo"))
        for data in ws.iter_data():
            ws.send(data)

    frontend = Flask("frontend")
    server = Server(frontend, application.websockets)
    application.server = server
    frontend.extensions.update(application.app.extensions)  # for the end of the test
    frontend.wsgi_app = DispatcherMiddleware(frontend.wsgi_app, {"/app": application.app})
    client = server.connect("/app/echo")
    assert client.recv() == f"ws://127.0.0.1:{server.port}/app/echo"
    client.send("hello")
    assert client.recv() == "hello"
    client.close()
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)
