"""The exceptions, and what is told from them."""

from __future__ import annotations

import sys
import types

import pytest

from flask_websockets import ConnectionClosed
from flask_websockets.errors import only_closed


class Group(BaseException):
    """As in the package exceptiongroup, which Python 3.10 needs for groups of exceptions."""

    def __init__(self, *exceptions):
        super().__init__(exceptions)
        self.exceptions = exceptions


@pytest.fixture(params=["builtin", "package"])
def group(request, monkeypatch):
    if request.param == "builtin":
        if sys.version_info < (3, 11):
            pytest.skip("Python 3.10 has none")
        return lambda *errors: BaseExceptionGroup("", errors)  # noqa: F821
    monkeypatch.delattr("builtins.BaseExceptionGroup", raising=False)
    module = types.ModuleType("exceptiongroup")
    module.BaseExceptionGroup = Group  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exceptiongroup", module)
    return Group


def test_groups_of_connection_closed_and_nothing_else(group):
    closed = ConnectionClosed(1001)
    assert only_closed(closed)
    assert only_closed(group(closed))
    assert only_closed(group(closed, group(group(closed), closed)))
    for other in (ValueError(), KeyboardInterrupt(), SystemExit()):
        assert not only_closed(other)
        assert not only_closed(group(other))
        assert not only_closed(group(closed, group(group(closed), other)))


def test_a_deep_group_is_no_recursion(group):
    error = ConnectionClosed()
    for _ in range(10_000):
        error = group(error)
    assert only_closed(error)
    while (inner := getattr(error, "exceptions", None)) is not None:
        error = inner[0]  # freed one by one, as their deallocation is recursive


def test_without_groups_an_exception_that_has_exceptions_is_none(monkeypatch):
    monkeypatch.delattr("builtins.BaseExceptionGroup", raising=False)
    monkeypatch.delitem(sys.modules, "exceptiongroup", raising=False)
    error = ValueError()
    error.exceptions = (ConnectionClosed(),)
    assert not only_closed(error)
