"""What takes the place of a handshake's objects once it is finished, as long as its websocket lives."""

from __future__ import annotations

from .._core import Engine

__all__ = ("NO_CONDITION", "FinishedHandshake")


class NoCondition:
    """Replaces the condition of an upgrade that is decided: nobody waits for it any more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> None:
        raise AssertionError("there is nothing to wait for")

    def notify_all(self) -> None:
        pass


NO_CONDITION = NoCondition()


class FinishedHandshake:
    """Replaces the Upgrade of a websocket once its handshake is finished: one object for all of an
    engine, because an Upgrade takes more memory than the rest of an idle websocket."""

    #: What was refused keeps its Upgrade.
    refused = False
    environ = None

    is_counted = True
    accepted = True
    server_answered = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def hasten(self, _: object) -> bool:
        return False

    def accept(self, *_: object) -> bool:
        return False
