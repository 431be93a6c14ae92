"""What a handler or a method of a class view returns, and nobody runs or gets: it is not dropped in
silence."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Coroutine
from typing import Any

from flask import Flask

from ..records import warn_seldom
from .decoration import name_of

__all__ = ("handler_name", "lost_value", "method_name", "reject_unrun", "reject_unrun_method")

Handler = Callable[..., Any]


def reject_unrun(handler: Handler, result: Any) -> Any:
    """What an ordinary function has returned, if that is no coroutine and no generator.

    :raises TypeError: for one, of which nothing has run.
    """
    return reject(
        name_of(handler),
        result,
        "What @websockets.route() is given has to be the async function itself; a decorator of it is "
        "given to the route: @websockets.route(…, decorators=[…])",
    )


def reject_unrun_method(view: object, method: str, result: Any) -> Any:
    """As :func:`reject_unrun`, for a method of a class view."""
    return reject(
        method_name(view, method),
        result,
        "The methods of a class view are ordinary functions; a function that awaits is an async view",
    )


def reject(name: str, result: Any, advice: str) -> Any:
    if isinstance(result, types.GeneratorType):
        result.close()
        raise TypeError(
            f"{name}() has returned a generator, which nobody runs: yield sends nothing; ws.send() does"
        )
    if not isinstance(result, Coroutine):
        return result
    result.close()
    raise TypeError(
        f"{name}() is an ordinary function, and has returned a coroutine, which nobody awaits. {advice}"
    )


def lost_value(app: Flask, name: str, value: Any) -> TypeError | None:
    """A handler or method has returned something after the handshake was accepted, when nobody gets it.
    That is logged, once a minute for each of them.

    :param name: :func:`handler_name` or :func:`method_name`.
    :returns: None; in debug mode the error that it is instead.
    """
    if value is None:
        return None
    text = (
        "the WebSocket handler %s has returned %s, which nobody gets: it was answered with 101 before"
    )
    if app.debug:
        return TypeError(f"{text % (name, type(value).__name__)}. Return nothing; ws.send() sends")
    warn_seldom(("value", name), text + " (said once a minute)", name, type(value).__name__)
    return None


def handler_name(handler: Handler) -> str:
    """With its module."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    module = getattr(handler, "__module__", None)
    return f"{module}.{getattr(handler, '__qualname__', name_of(handler))}"


def method_name(view: object, method: str) -> str:
    """With its module. Not the name of the function, which may be a decorator's."""
    return f"{type(view).__module__}.{type(view).__qualname__}.{method}"
