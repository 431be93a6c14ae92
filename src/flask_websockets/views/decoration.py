"""What ``route`` is given: which kind of handler it is; and the refusal, where it is written, of what
could not work, or would not protect."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Flask
from werkzeug.local import LocalProxy

from .class_view import WebSocketView

__all__ = (
    "check_decorators",
    "check_handler",
    "check_path",
    "check_rule_options",
    "check_uncovered",
    "is_async",
    "name_of",
)

Handler = Callable[..., Any]
Decorator = Callable[[Any], Any]

#: What the methods of a class view are called with; on_open with the values of the URL as well.
METHODS = {
    "on_open": ("ws",),
    "on_message": ("ws", "data"),
    "on_close": ("ws", "code", "reason"),
}
#: What other frameworks call these.
NAMES_ELSEWHERE = {
    "on_connect": "on_open",
    "on_receive": "on_message",
    "on_data": "on_message",
    "on_disconnect": "on_close",
}
#: How deep a wrapper may lie in wrappers.
DEPTH_MAX = 20
#: How many functions and objects are looked at, to find whether a wrapper is made of a handler.
PARTS_MAX = 200
#: What can be called and is not looked into: it refers to much else, or stands for something else.
NO_WRAPPERS = (type, Flask, Blueprint, LocalProxy)


# ---- what a handler is ----


def called(handler: Any) -> Any:
    """What a call of the handler runs: the function of a ``partial``, of a bound method, of an object
    with ``__call__``; a class, or anything of C, as it is."""
    while True:
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif isinstance(handler, (types.MethodType, staticmethod)):
            handler = handler.__func__
        elif isinstance(handler, (type, types.FunctionType)):
            return handler
        else:
            call = getattr(type(handler), "__call__", None)  # noqa: B004 - the function is wanted
            if not isinstance(call, types.FunctionType):
                return handler
            handler = call


def hidden_by(wrapper: Any) -> Iterator[Any]:
    """What decorators have wrapped, from the outermost in, where they tell it (functools.wraps)."""
    for _ in range(DEPTH_MAX):
        wrapper = getattr(wrapper, "__wrapped__", None)
        if wrapper is None:
            return
        wrapper = called(wrapper)
        yield wrapper


def is_async(handler: Handler) -> bool:
    """Does a call of it make a coroutine?"""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called(handler))


def name_of(handler: Any) -> str:
    """Of a function or a class its own; of a ``partial``, that of its function; of an object, its
    class's."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return str(getattr(handler, "__name__", type(handler).__name__))


def decorator_of(wrapper: Any) -> str:
    """The name of the decorator that has made this wrapper; "…" when it cannot be known."""
    if isinstance(wrapper, types.MethodType):
        wrapper = wrapper.__self__
    if not isinstance(wrapper, types.FunctionType):
        return type(wrapper).__name__
    # From Python 3.11 on; its __qualname__ is that of the wrapped function.
    name: str = getattr(wrapper.__code__, "co_qualname", "")
    outer, _, inner = name.partition(".<locals>")
    return outer if inner else "…"


# ---- what is refused at decoration ----


def check_path(path: Any, bp: Any) -> None:
    """:raises TypeError: for what is no URL rule, and no blueprint."""
    if not isinstance(path, str):
        raise TypeError(
            f"route() takes the URL rule first, a str, not {type(path).__name__}: "
            '@websockets.route("/echo"), with its parentheses'
        )
    if bp is not None and not callable(getattr(bp, "add_url_rule", None)):
        raise TypeError(f"route() takes a Blueprint as bp, not {type(bp).__name__}")


def check_rule_options(options: dict[str, Any]) -> None:
    """:raises ValueError: for options of a URL rule that no websocket can have."""
    methods = options.get("methods")
    if methods is not None and {str(method).upper() for method in methods} != {"GET"}:
        raise ValueError("a WebSocket route has no methods: its handshake is always a GET")
    if not options.get("websocket", True):
        raise ValueError("websockets.route() makes WebSocket routes; a page's is made with app.route()")


def check_decorators(decorators: Any, where: str) -> tuple[Decorator, ...]:
    """:raises TypeError: when it is no list of functions."""
    if not isinstance(decorators, (list, tuple)) or not all(map(callable, decorators)):
        raise TypeError(
            f"{where} is a list of decorators, such as [login_required], not {decorators!r}"
        )
    return tuple(decorators)


def check_handler(handler: Any, path: str) -> None:
    """Refuse at decoration what could not work at the first connection.

    :raises TypeError, ValueError: and why, and what to write instead.
    """
    if inspect.isclass(handler):
        check_view(handler)
        return
    if not callable(handler):
        raise TypeError(f"route() decorates a function, not {type(handler).__name__}")
    name, function = name_of(handler), called(handler)
    if inspect.isclass(function):
        raise TypeError(
            f"route() decorates the class {function.__name__} itself, and no "
            f"{type(handler).__name__} of it"
        )
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}() is an async generator; a handler yields nothing")
    if inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{name}() contains yield, so that calling it runs nothing; a handler sends with ws.send()"
        )
    check_wrapper(handler, function, name, path)
    check_parameters(handler, function, name)


def check_wrapper(handler: Any, function: Any, name: str, path: str) -> None:
    """A wrapper hides what kind of handler it was made of, and calls it as if that were an ordinary
    function: a coroutine would never be awaited, a class never be recognized."""
    for hidden in hidden_by(function):
        if is_view(hidden):
            raise hides_view(hidden, function)
        if inspect.iscoroutinefunction(hidden) and not is_async(handler):
            raise TypeError(
                f"a decorator has made an ordinary function of the async function {name}(), whose "
                "websocket can only be awaited in its own event loop; give the decorator to the route: "
                f'@websockets.route("{path}", decorators=[{decorator_of(function)}])'
            )
        function = hidden
    # A wrapper that does not tell what it wraps passes on whatever it is given.
    if getattr(getattr(function, "__code__", None), "co_flags", 0) & inspect.CO_VARARGS:
        for part in filter(is_view, parts_of(handler)):
            raise hides_view(part, handler)


def is_view(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, WebSocketView)


def hides_view(view: type[Any], wrapper: Any) -> TypeError:
    return TypeError(
        f"a decorator over the class {view.__name__} has made a function of it, which is no class view "
        f"any more; write in the class: decorators = [{decorator_of(wrapper)}]"
    )


def check_parameters(handler: Any, function: Any, name: str) -> None:
    """A handler is given the websocket as its first argument."""
    try:
        parameters = inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):  # of C, without a signature
        return
    if function is handler and next(iter(parameters.parameters), None) == "self":
        raise TypeError(
            f"{name}() is a method, and route() has no object to call it on: make the route of what is "
            f'bound to one, as in websockets.route("/path")(thing.{name})'
        )
    try:
        parameters.bind_partial(None)
    except TypeError:
        raise TypeError(
            f"{name}() takes no argument; a handler is given the WebSocket, and the values of the URL"
        ) from None


def check_view(view: type[Any]) -> None:
    """:raises TypeError, ValueError: for a class whose websockets could not work, and why."""
    name = view.__name__
    if not issubclass(view, WebSocketView):
        raise TypeError(f"route() decorates a function or a WebSocketView, and {name} is neither")
    for other, method in NAMES_ELSEWHERE.items():
        if hasattr(view, other) and getattr(view, method) is getattr(WebSocketView, method):
            raise TypeError(f"{name}.{other}() is never called: the method is {method}()")
    if view.on_message is WebSocketView.on_message:
        raise TypeError(f"{name} has no on_message()")
    for method, given in METHODS.items():
        check_method(name, method, called(getattr(view, method)))
        check_method_parameters(view, method, given)
    if view.context not in ("request", "app"):
        raise ValueError(f'{name}.context must be "request" or "app", not {view.context!r}')
    check_decorators(view.decorators, f"{name}.decorators")
    try:
        inspect.signature(view).bind()
    except TypeError as error:
        raise TypeError(f"{name}() is made without arguments, and {error}") from None


def check_method(name: str, method: str, function: Any) -> None:
    for part in (function, *hidden_by(function)):
        if inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part):
            raise TypeError(f"{name}.{method}() is async; the methods of a view are ordinary ones")
    if inspect.isgeneratorfunction(function):
        raise TypeError(f"{name}.{method}() contains yield, so that a call of it runs nothing")


def check_method_parameters(view: type[Any], method: str, given: tuple[str, ...]) -> None:
    """A method is given the websocket, and more; ``on_open`` the values of the URL as well, which are
    not known here."""
    function = inspect.getattr_static(view, method)
    if not isinstance(function, (types.FunctionType, staticmethod, classmethod)):
        return
    try:
        parameters = inspect.signature(function.__get__(object(), view), follow_wrapped=False)
    except (TypeError, ValueError):  # of C, without a signature
        return
    try:
        (parameters.bind_partial if method == "on_open" else parameters.bind)(*given)
    except TypeError as error:
        raise TypeError(
            f"{view.__name__}.{method}() is called with {', '.join(given)}: {error}; write "
            f"def {method}({', '.join(('self', *given))})"
        ) from None


# ---- what only shows later ----


def check_uncovered(handler: Any) -> None:
    """Refuse a handler that was decorated once more after ``route``, which has the undecorated one:
    what its author wants to be checked would not be. To be called when its module is complete.

    It is seen where the handler stands in a module, or in a class of one; what is inside a function is
    gone when that has returned.

    :raises RuntimeError: and what to write instead.
    """
    names = str(getattr(handler, "__qualname__", "<locals>")).split(".")
    found: Any = sys.modules.get(getattr(handler, "__module__", None) or "")
    for name in names:
        found = inspect.getattr_static(found, name, None)
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    if found is None or found is handler or not is_made_of(found, handler):
        return
    decorator = decorator_of(found)
    raise RuntimeError(
        f"the decorator {decorator} stands above the @websockets.route() of {name_of(handler)}, and so "
        "does not apply to its websockets, which are refused therefore: put @websockets.route() on top"
    )


def is_made_of(wrapper: Any, handler: Any) -> bool:
    """Is it a wrapper that calls the handler? As the wrapper tells (functools.wraps), or because it has
    the handler in its closure, among its arguments or its attributes."""
    if isinstance(wrapper, type):  # one that a decorator has derived, and not a second class statement
        derived = isinstance(handler, type) and issubclass(wrapper, handler)
        return derived and wrapper.__qualname__ != handler.__qualname__
    seen: dict[int, Any] = {}
    left = [wrapper]
    while left and len(seen) < PARTS_MAX:
        part = left.pop()
        if part is handler:
            return True
        is_wrapper = callable(part) and not issubclass(type(part), NO_WRAPPERS)
        if is_wrapper and id(part) not in seen:
            seen[id(part)] = part
            left.extend(parts_of(part))
    return False


def parts_of(wrapper: Any) -> Iterator[Any]:
    if isinstance(wrapper, functools.partial):
        yield from (wrapper.func, *wrapper.args, *wrapper.keywords.values())
    elif isinstance(wrapper, types.MethodType):
        yield from (wrapper.__func__, wrapper.__self__)
    else:
        for cell in getattr(wrapper, "__closure__", None) or ():
            if cell != types.CellType():  # an empty one has no contents
                yield cell.cell_contents
        yield from getattr(wrapper, "__dict__", {}).values()  # among them __wrapped__
