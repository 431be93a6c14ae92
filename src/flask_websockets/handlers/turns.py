"""Tasks that wait for the same thing of one websocket, and take turns."""

from __future__ import annotations

import asyncio

__all__ = ("Turns", "resolve")


class Turns(list["asyncio.Future[bool]"]):
    """The places of the tasks that wait, first come, first served. Used in the event loop's thread.

    The first one alone is woken. It tries for itself, and keeps its place until it has got what it
    waits for or gives up; when it leaves, the next one is woken to try. So what there is to be had is
    taken by a task that runs, in the step in which it takes it: a task that is cancelled after it was
    woken has taken nothing, and leaves it to the next one.

    The result of a place is False when it was woken, and True when its time is over.
    """

    __slots__ = ()

    def join(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[bool]:
        """Take the last place, to be awaited and then given to :meth:`stay` or :meth:`leave`."""
        place: asyncio.Future[bool] = loop.create_future()
        self.append(place)
        return place

    def stay(
        self, place: asyncio.Future[bool], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[bool]:
        """The task has tried in vain: the same place, to be awaited again."""
        self[self.index(place)] = again = loop.create_future()
        return again

    def leave(self, place: asyncio.Future[bool]) -> None:
        """Give a place up, whether its task has got what it waited for or not."""
        if self[0] is not place:
            self.remove(place)
            return
        del self[0]
        if self:
            self.wake()

    def wake(self) -> None:
        """Something has changed, so the first one is to try."""
        if self:
            resolve(self[0], False)


def resolve(place: asyncio.Future[bool], is_late: bool) -> None:
    """End the waiting of a place, unless it has ended."""
    if not place.done():
        place.set_result(is_late)
