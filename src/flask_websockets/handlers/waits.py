"""What a task waits for, as far as that can be seen from outside."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ("merely_waits",)

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
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is None or depth == DEPTH_MAX:
        return False
    innermost: Any = task.get_coro()
    while getattr(inner := getattr(innermost, "cr_await", None), "cr_code", None) is not None:
        innermost = inner
    code = getattr(innermost, "cr_code", None)
    if code in MEETINGS:
        return True
    others = [one for one in awaited(waiter, innermost, code) if not one.done()]
    return bool(others) and all(
        isinstance(one, asyncio.Task) and merely_waits(one, depth + 1) for one in others
    )


def awaited(waiter: Any, coroutine: Any, code: Any) -> list[asyncio.Future[Any]]:
    """The tasks and futures that a coroutine waits for; none when that cannot be told.

    :param waiter: the future that its task waits for.
    """
    if isinstance(waiter, asyncio.Task):
        return [waiter]
    if (children := getattr(waiter, "_children", None)) is not None:  # of gather()
        return list(children)
    local = coroutine.cr_frame.f_locals if getattr(coroutine, "cr_frame", None) is not None else {}
    if code is getattr(asyncio.tasks._wait, "__code__", None):  # type: ignore[attr-defined]
        return list(local.get("fs", ()))
    group = local.get("self")
    if group is not None and isinstance(group, getattr(asyncio, "TaskGroup", ())):
        return list(getattr(group, "_tasks", ()))
    return []
