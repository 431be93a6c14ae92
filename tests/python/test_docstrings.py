"""Every public name says what it is."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys

import pytest
from lint import stubs

import flask_websockets

PUBLIC = [getattr(flask_websockets, name) for name in flask_websockets.__all__]


def members(cls):
    for base in cls.__mro__:
        if not base.__module__.startswith("flask_websockets"):
            continue
        for name, value in vars(base).items():
            if not name.startswith("_") and (callable(value) or inspect.isdatadescriptor(value)):
                # inspect.getdoc() knows no docstrings of slots.
                slots = vars(base).get("__slots__", ())
                own = slots.get(name) if isinstance(slots, dict) else None
                yield f"{cls.__name__}.{name}", own or inspect.getdoc(value)


@pytest.mark.parametrize("cls", PUBLIC)
def test_every_public_name_has_a_docstring(cls):
    assert cls.__doc__
    without = [name for name, docstring in members(cls) if not docstring]
    assert without == []


def test_the_docstrings_of_methods_in_c_give_a_signature():
    assert str(inspect.signature(flask_websockets.WebSocket.receive)) == "(self, /, timeout=None)"
    assert str(inspect.signature(flask_websockets.WebSocket.send)) == "(self, /, data)"
    assert str(inspect.signature(flask_websockets.WebSocket.close)) == "(self, /, code=1000, reason='')"


def test_editors_show_the_docstrings_of_the_methods_in_c():
    """They read the stub."""
    assert stubs.differences(stubs.STUB.read_text()) == []
    assert stubs.differences("class WebSocket:\n    def send(self): ...") == [
        "WebSocket",
        "WebSocket.send",
    ]
    assert stubs.differences('def offer():\n    """Other."""') == ["offer"]
    assert stubs.written(stubs.STUB.read_text()) == stubs.STUB.read_text()


def test_an_application_with_annotations_is_accepted_by_mypy(tmp_path):
    """Views of all kinds, as a user writes them."""
    program = pathlib.Path(__file__).with_name("typed_app.py")
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("Success"), done.stdout + done.stderr
