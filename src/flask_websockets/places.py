"""Where in a program an application is bound, and where its routes are made: from what is on the stack.

A route that is made after an application was bound is one of that application. Whether it is one of
the next application as well cannot be told from the route: a factory that makes routes makes others
when it is called again; but a module that it imports is run once, and the next application would have
none. Nor can the routes of one application be given to any other, where its before_request functions
may not protect them. So they are those of applications that are made in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType, FrameType

from flask import Flask

__all__ = ("Kin", "Place", "kin_of", "place_of")


@dataclass(frozen=True, eq=False)
class Place:
    """What is on the stack.

    :ivar functions: the code of the functions, the innermost first, down to the module whose code runs.
    :ivar module: the code of that module, which is perhaps being imported.
    :ivar below: what has imported it.
    """

    functions: tuple[CodeType, ...]
    module: CodeType | None
    below: tuple[CodeType, ...]

    @property
    def maker(self) -> CodeType | None:
        """The innermost code."""
        return self.functions[0] if self.functions else self.module


@dataclass(frozen=True, eq=False)
class Kin:
    """Which applications have a route beside the one that was bound last when it was made.

    :ivar maker: those that this code makes; None: none.
    :ivar module: those that are made while the code of this module runs; None: none.
    """

    maker: CodeType | None = None
    module: CodeType | None = None

    def includes(self, bound: Place) -> bool:
        """Is an application that was bound there one of them?"""
        by_maker = self.maker is not None and bound.maker is self.maker
        return by_maker or (self.module is not None and bound.module is self.module)


def place_of(frame: FrameType, app: Flask | None = None) -> Place:
    """The place of a call.

    :param frame: of the caller.
    :param app: functions that were given this application are passed over, to find what made it.
    """
    caller: FrameType | None = frame
    while caller is not None and app is not None and has_argument(caller, app):
        caller = caller.f_back
    stack = []
    while caller is not None:
        stack.append(caller.f_code)
        caller = caller.f_back
    modules = [index for index, code in enumerate(stack) if code.co_name == "<module>"]
    if not modules:
        return Place(tuple(stack), None, ())
    first = modules[0]
    return Place(tuple(stack[:first]), stack[first], tuple(stack[first + 1 :]))


def has_argument(frame: FrameType, value: object) -> bool:
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return any(frame.f_locals.get(name) is value for name in names)


def kin_of(made: Place, bound: Place) -> Kin | None:
    """Which other applications have a route.

    :param made: where the route is made.
    :param bound: where the last application was bound before.
    :returns: None when a function makes both, and the route is that application's alone.
    """
    if any(is_in(code, bound.functions) for code in made.functions):
        return None
    if bound.functions and is_in(bound.functions[0], made.below):
        return Kin(maker=bound.functions[0])  # the factory is running: it imports what makes the route
    is_imported = not bound.functions and is_in(bound.module, made.below)
    if bound.module is not None and (made.module is bound.module or is_imported):
        return Kin(module=bound.module)
    return None


def is_in(code: CodeType | None, codes: tuple[CodeType, ...]) -> bool:
    """By identity: two functions that are written alike have equal code."""
    return any(code is one for one in codes)
