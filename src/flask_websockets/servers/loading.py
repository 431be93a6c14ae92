"""What can be known of the server when the application is made, before any handshake: the server that
loads the application is on the stack."""

from __future__ import annotations

import sys

from . import uwsgi

__all__ = ("NAMES", "start_problem")

#: For the message to someone whose server hides its socket.
NAMES = (
    "gunicorn (sync, gthread and gevent workers), uWSGI, gevent, eventlet, cheroot, and the Werkzeug "
    "development server (flask run, app.run)"
)

#: Servers that give no socket out, each by the module that loads an application, or by a package.
HIDING = {
    "gunicorn.workers.gasgi": "gunicorn's ASGI worker (-k asgi)",
    "gunicorn.workers.gtornado": "gunicorn's tornado worker (-k tornado)",
    "uvicorn": "uvicorn, an ASGI server,",
    "hypercorn": "hypercorn, an ASGI server,",
    "daphne": "daphne, an ASGI server,",
    "granian": "granian",
    "waitress": "waitress",
    "mod_wsgi": "mod_wsgi",
}
#: Processes of gunicorn that serve no requests.
DIRTY = "gunicorn.dirty"


def start_problem() -> str | None:
    """Why no WebSocket will work in this process, and what to do; None when nothing is known of it."""
    modules = loading_modules()
    if any(is_part(module, DIRTY) for module in modules):
        return (
            "This is a dirty worker of gunicorn. No request comes to it, so it has no WebSockets, and "
            "what is published in it reaches none. Publish in the web worker that gets its result."
        )
    for name, server in HIDING.items():
        if any(is_part(module, name) for module in modules):
            return (
                f"WebSockets need the connection itself, and {server} does not give it out: every "
                f"handshake is refused. Servers that do: {NAMES}."
            )
    return uwsgi.start_problem()


def is_part(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def loading_modules() -> set[str]:
    """The modules whose functions are running, and the worker that gunicorn forks with --preload."""
    modules = set()
    frame = sys._getframe()
    while frame is not None:
        modules.add(str(frame.f_globals.get("__name__", "")))
        frame = frame.f_back  # type: ignore[assignment]
    if "gunicorn.arbiter" in modules:
        modules.update(name for name in sys.modules if name.startswith("gunicorn.workers.g"))
    modules.update({"mod_wsgi"} & set(sys.modules))
    return modules
