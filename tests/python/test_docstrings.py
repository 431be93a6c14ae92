"""Every public name says what it is."""

from __future__ import annotations

import inspect

import pytest

import flask_websockets

PUBLIC = [getattr(flask_websockets, name) for name in flask_websockets.__all__]


def members(cls):
    for base in cls.__mro__:
        if not base.__module__.startswith("flask_websockets"):
            continue
        for name, value in vars(base).items():
            if not name.startswith("_") and (callable(value) or inspect.isdatadescriptor(value)):
                is_slot = inspect.ismemberdescriptor(value)  # told in the class's docstring
                if not is_slot:
                    yield f"{cls.__name__}.{name}", value


@pytest.mark.parametrize("cls", PUBLIC)
def test_every_public_name_has_a_docstring(cls):
    assert cls.__doc__
    without = [name for name, value in members(cls) if not inspect.getdoc(value)]
    assert without == []


def test_the_docstrings_of_methods_in_c_give_a_signature():
    assert str(inspect.signature(flask_websockets.WebSocket.receive)) == "(self, /, timeout=None)"
    assert str(inspect.signature(flask_websockets.WebSocket.send)) == "(self, /, data)"
    assert str(inspect.signature(flask_websockets.WebSocket.close)) == "(self, /, code=1000, reason='')"
