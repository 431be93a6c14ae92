"""Processes that publish and that no websocket can be connected to: a Celery worker, a command of the
command line, the parent of Werkzeug's reloader, the master of gunicorn.

A server that simply has no client yet looks much the same from inside. So this says only what can be
known: what the process is doing is read from the names of the functions that its threads are in.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from flask import has_request_context

from .records import LOGGER, Seldom

__all__ = ("note_unheard",)

#: Modules with the functions that serve. While a thread is in one of them, a websocket may come.
SERVERS = (
    "werkzeug.serving",
    "socketserver",
    "wsgiref",
    "gunicorn.workers",
    "cheroot",
    "gevent.baseserver",
    "eventlet.wsgi",
)

#: What a job is run by: the module of a function that the publishing thread is in, and its name.
WORKERS = {
    "celery.app.trace": "a Celery worker",
    "rq.job": "an RQ worker",
    "dramatiq.worker": "a Dramatiq worker",
    "huey.api": "a Huey consumer",
    "concurrent.futures.process": "a process of a ProcessPoolExecutor",
}

#: Empty until it was said in this process.
_said: dict[str, object] = {}
#: To look takes some time, and a server that has no client yet may publish all the time.
_looks = Seldom(interval=1.0, most=1)


def note_unheard() -> None:
    """``publish()`` has reached nobody, and no handshake has ever come to this process. If it is known
    that none can come, say so once: whoever wrote that call expects that somebody hears it."""
    if _said or has_request_context() or not _looks("look"):
        return
    what, mine = describe(), object()
    if what is not None and _said.setdefault("said", mine) is mine:
        LOGGER.warning(
            "publish() was called in %s (pid %s), to which no websocket can be connected, so it "
            "reaches nobody: channels end at the process. Publish in a process that serves: in a view, "
            "a handler, or a thread that is started there",
            what,
            os.getpid(),
        )


def describe() -> str | None:
    """What this process is, if it is none that serves; None when it serves, may serve, or when it is
    not known."""
    threads = sys._current_frames()
    main = threads.get(threading.main_thread().ident or 0)
    in_main = list(functions(main))
    if ("werkzeug._reloader", "restart_with_reloader") in in_main:
        return "the parent process of Werkzeug's reloader"
    modules = {module for module, _ in in_main}
    if "gunicorn.arbiter" in modules and not any(is_in(m, "gunicorn.workers") for m in modules):
        return "the master process of gunicorn"
    if any(is_in(m, one) for f in threads.values() for m, _ in functions(f) for one in SERVERS):
        return None
    here = {module for module, _ in functions(sys._getframe())}
    for module, name in WORKERS.items():
        if module in here:
            return name
    return command()


def command() -> str | None:
    """The command of Flask's command line that the calling thread runs, unless that serves."""
    click = sys.modules.get("click")
    context = click.get_current_context(silent=True) if click is not None else None
    if context is None or "flask.cli" not in sys.modules or context.info_name == "run":
        return None
    return f"the command {context.command_path!r}" if of_flask(context) else None


def of_flask(context: object) -> bool:
    from flask.cli import ScriptInfo

    return getattr(context, "find_object", lambda _: None)(ScriptInfo) is not None


def functions(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """The module and the name of each function that a thread is in."""
    while frame is not None:
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        frame = frame.f_back


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


os.register_at_fork(after_in_child=_said.clear)
