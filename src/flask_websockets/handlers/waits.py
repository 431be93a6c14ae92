"""What a task waits for, as far as that can be seen from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Any

__all__ = ("is_or_waits_for", "merely_waits")

#: Where a task waits until another one does something. Nothing that it has begun is cut short if it is
#: cancelled there.
MEETINGS = frozenset(
    function.__code__
    for function in (
        asyncio.Condition.wait,
        asyncio.Event.wait,
        asyncio.Queue.get,
        asyncio.Queue.join,
        asyncio.Queue.put,
    )
)

#: Tasks that wait for tasks are followed so far.
DEPTH_MAX = 20


def merely_waits(task: asyncio.Task[Any], depth: int = 0) -> bool:
    """Does this task wait at a queue, an event or a condition of asyncio, or for tasks all of which do?
    False when it is at anything else, and when that cannot be told: it may be saving something."""
    if depth == DEPTH_MAX or getattr(task, "_fut_waiter", None) is None:
        return False
    if getattr(innermost(task), "cr_code", None) in MEETINGS:
        return True
    others = awaited(task)
    return bool(others) and all(
        isinstance(one, asyncio.Task) and merely_waits(one, depth + 1) for one in others
    )


def is_or_waits_for(
    task: asyncio.Future[Any], found: Container[asyncio.Future[Any]], depth: int = 0
) -> bool:
    """Is this one of some tasks, or does it wait for one of them?"""
    if task in found:
        return True
    if depth == DEPTH_MAX or not isinstance(task, asyncio.Task):
        return False
    return any(is_or_waits_for(one, found, depth + 1) for one in awaited(task))


def innermost(task: asyncio.Task[Any]) -> Any:
    """The coroutine that a task is in."""
    found: Any = task.get_coro()
    while getattr(inner := getattr(found, "cr_await", None), "cr_code", None) is not None:
        found = inner
    return found


def awaited(task: asyncio.Task[Any]) -> list[asyncio.Future[Any]]:
    """The tasks and futures that a task waits for and that are not done; none when that cannot be
    told."""
    waiter = getattr(task, "_fut_waiter", None)
    return [one for one in awaited_by(waiter, innermost(task)) if not one.done()]


def awaited_by(waiter: Any, coroutine: Any) -> list[asyncio.Future[Any]]:
    """As :func:`awaited`.

    :param waiter: the future that the task waits for.
    :param coroutine: the coroutine that it is in.
    """
    if isinstance(waiter, asyncio.Task):
        return [waiter]
    if (children := getattr(waiter, "_children", None)) is not None:  # of gather()
        return list(children)
    local = coroutine.cr_frame.f_locals if getattr(coroutine, "cr_frame", None) is not None else {}
    code = getattr(coroutine, "cr_code", None)
    if code is getattr(asyncio.tasks._wait, "__code__", None):  # type: ignore[attr-defined]
        return list(local.get("fs", ()))
    if code is asyncio.wait_for.__code__ and isinstance(local.get("fut"), asyncio.Future):
        return [local["fut"]]  # until Python 3.12
    group = local.get("self")
    if group is not None and isinstance(group, getattr(asyncio, "TaskGroup", ())):
        return list(getattr(group, "_tasks", ()))
    return []
