"""The rooms of the C part, from top to bottom, and the arrows between them: which room's files may
include which. ``house.py`` holds every #include against this table; ``draw.py`` draws what there is.

An arrow points down the table, so there can be no circle. A file belongs to the room with the longest
pattern that fits its path. Files of one room may include each other.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Whoever needs the time may ask for it, and whoever needs a constant.
BELOW = ("io", "memory", "stats", "clock", "protocol", "tuning")


@dataclass(frozen=True)
class Room:
    """Some files, and the rooms that they may include."""

    files: tuple[str, ...]  # patterns of paths
    may_include: tuple[str, ...]
    about: str  # what it is, for the picture
    circle: bool = False  # one object in several files, whose includes may then go in a circle


ROOMS = {
    "tests": Room(
        ("tests/core/*",),
        (
            "binding",
            "bench",
            "fws.h",
            "engine",
            "publish",
            "websocket",
            "work",
            "table",
            "publication",
            *BELOW,
        ),
        "tests of the C part",
    ),
    "binding": Room(("binding/*",), ("fws.h",), "CPython; all of the GIL lives here"),
    "bench": Room(("bench/*",), ("fws.h",), "load generator, measurements"),
    "fuzz": Room(("fuzz/*",), ("fws.h",), "libFuzzer's targets"),
    "fws.h": Room(
        ("core/fws.h", "core/fws.c"),
        ("engine", "publish", "websocket", "work", "table", "publication", *BELOW),
        "the face: all that others include",
    ),
    "engine": Room(
        ("core/engine/*",),
        ("publish", "websocket", "work", "table", "publication", *BELOW),
        "who is attached; the threads that drive websockets",
        circle=True,
    ),
    "publish": Room(
        ("core/channels/publish*",),
        ("websocket", "work", "table", "publication", *BELOW),
        "one message to many",
    ),
    "websocket": Room(
        ("core/websocket/*",),
        ("work", "table", "publication", *BELOW),
        "one WebSocket over one descriptor",
        circle=True,
    ),
    "work": Room(
        (
            "core/websocket/work*",
            "core/websocket/config.h",
            "core/websocket/cork.*",
            "core/websocket/run_queue.*",
        ),
        BELOW,
        "what a websocket asks for",
    ),
    "table": Room(
        (
            "core/channels/table*",
            "core/channels/audience*",
            "core/channels/backlog*",
            "core/channels/members*",
            "core/channels/name*",
        ),
        ("publication", *BELOW),
        "who is in which channel; what is on its way to whom",
        circle=True,
    ),
    "publication": Room(("core/channels/publication*",), BELOW, "one message, framed for many"),
    "io": Room(("core/io/*",), ("memory", "stats", "clock", "tuning"), "readiness, transport, timers"),
    "memory": Room(("core/memory/*",), ("clock", "tuning"), "bytes that are shared and lent"),
    "stats": Room(("core/stats/*",), ("clock",), "what is counted"),
    "clock": Room(("core/io/clock.*",), (), "the time"),
    "protocol": Room(
        ("core/protocol/*",), ("tuning",), "RFC 6455 and RFC 7692; bytes in, bytes out", circle=True
    ),
    "tuning": Room(("core/tuning*.h",), (), "the numbers that were chosen"),
}

#: System headers that files may not include: Python is the binding's, and the protocol touches no
#: descriptor, thread or clock.
NEVER = {
    "core/*": ("Python.h",),
    "core/protocol/*": (
        "fcntl.h",
        "netinet/*",
        "poll.h",
        "pthread.h",
        "sched.h",
        "sys/*",
        "threads.h",
        "time.h",
        "unistd.h",
    ),
}
