"""The routes that are made with one extension object, and the applications that have them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from flask import Blueprint, Flask

from .decoration import name_of
from .records import LOGGER
from .routing import make_view
from .runtime import EXTENSION_KEY

__all__ = ("Route", "Routes", "note_unmatched")

#: The attribute of an application or blueprint that has the views that were made for it.
VIEWS_ATTRIBUTE = "_flask_websockets_views"


@dataclass(frozen=True)
class Route:
    """What ``@websockets.route`` was given."""

    path: str
    handler: Any
    decorators: tuple[Callable[[Any], Any], ...]
    options: dict[str, Any]

    def register(self, scaffold: Flask | Blueprint) -> None:
        """Make it a route of an application or a blueprint.

        One handler has one view there, so that it may have several routes, as in Flask. The application
        keeps its views, and nothing else does: a handler may refer to its application.
        """
        views: list[tuple[Any, Any, Callable[..., Any]]]
        views = scaffold.__dict__.setdefault(VIEWS_ATTRIBUTE, [])
        for handler, decorators, known in views:
            if handler == self.handler and decorators == self.decorators:
                view = known
                break
        else:
            view = make_view(self.handler, self.decorators)
            views.append((self.handler, self.decorators, view))
        # By default Flask takes the name of the view, which decorators may have changed.
        options = {"endpoint": name_of(self.handler), **self.options}
        scaffold.route(self.path, **options)(view)


class Routes:
    """The applications that an extension object is bound to, and which routes they have.

    A function that binds an application and makes routes makes them for that application, as it makes
    others for the next one. Any other route is one of all applications that were or will be bound: what
    stands in a module is run once, however many applications there are.

    Of several applications none is kept alive.

    :ivar is_bound: has there been an application?
    :ivar bp: the blueprint with the routes made before the first application was bound; None: none.
    """

    def __init__(self) -> None:
        self.bp: Blueprint | None = None
        #: In the order in which they were bound.
        self._apps: list[weakref.ref[Flask]] = []
        self.is_bound = False
        self._only: Flask | None = None
        #: Made after that, for all.
        self._for_all: list[Route] = []
        #: The functions that were running when the last application was bound.
        self._binders: frozenset[CodeType] = frozenset()
        #: The paths of the routes that were made for one application only.
        self._for_one: dict[str, None] = {}
        #: The applications that were looked at for those.
        self._looked_at: weakref.WeakSet[Flask] = weakref.WeakSet()

    @property
    def apps(self) -> list[Flask]:
        """Those that are alive, in the order in which they were bound."""
        return [app for app in (reference() for reference in self._apps) if app is not None]

    def bind(self, app: Flask, frame: FrameType | None) -> None:
        """Give an application the routes of all.

        :param frame: of the caller of ``init_app``.
        """
        if self.bp is not None:
            app.register_blueprint(self.bp)
        for route in self._for_all:
            route.register(app)
        self._only = None if self.is_bound else app
        self.is_bound = True
        self._apps = [reference for reference in self._apps if reference() is not None]
        self._apps.append(weakref.ref(app))
        self._binders = functions_running(frame)

    def add(self, route: Route, frame: FrameType | None) -> None:
        """Make a route.

        :param frame: of the caller of the decorator.
        """
        if not self.is_bound:
            if self.bp is None:
                self.bp = Blueprint("__flask_websockets", __name__)
            route.register(self.bp)
            return
        apps = self.apps
        if self._binders & functions_running(frame):
            for app in apps[-1:]:
                route.register(app)
            self._for_one[route.path] = None
            return
        for app in apps:
            if app is not apps[-1] and app._got_first_request:  # Flask takes no more routes
                LOGGER.warning(
                    "the application %r serves already, and has no WebSocket route %s: make the route "
                    "before that, or before init_app()",
                    app.name,
                    route.path,
                )
            else:
                route.register(app)
        self._for_all.append(route)

    def note_unmatched(self, app: Flask, path: str) -> None:
        """A handshake has a URL that the application has no route for: log, once, if other applications
        have routes that it could be meant to have."""
        if not self._for_one or app in self._looked_at:
            return
        self._looked_at.add(app)
        has = {rule.rule for rule in app.url_map.iter_rules()}
        missing = [rule for rule in self._for_one if rule not in has]
        if missing:
            LOGGER.warning(
                "the application %r has no WebSocket route for %r. A function that called init_app() "
                "for another application has made the routes %s for that one only: make them for "
                "each, or in a module, or on a blueprint",
                app.name,
                path,
                ", ".join(missing),
            )


def note_unmatched(app: Flask, path: str) -> None:
    """See :meth:`Routes.note_unmatched`."""
    app.extensions[EXTENSION_KEY]._routes.note_unmatched(app, path)


def functions_running(frame: FrameType | None) -> frozenset[CodeType]:
    """The code of the functions on the stack, down to the module that is being imported."""
    found = set()
    while frame is not None and frame.f_code.co_name != "<module>":
        found.add(frame.f_code)
        frame = frame.f_back
    return frozenset(found)
