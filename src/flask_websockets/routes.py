"""The routes that are made with one extension object, and the applications that have them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from flask import Blueprint, Flask

from .places import Kin, Place, kin_of, place_of
from .records import LOGGER
from .views.decoration import name_of
from .views.view_function import make_view

__all__ = ("Route", "Routes")

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

    What is made before the first is bound, all have. A route that is made later is one of the
    application that was bound last, and perhaps of others: see :mod:`flask_websockets.places`.

    Of several applications none is kept alive.

    :ivar is_bound: has there been an application?
    :ivar bp: the blueprint with the routes made before the first application was bound; None: none.
    """

    def __init__(self) -> None:
        self.bp: Blueprint | None = None
        #: In the order in which they were bound, each with where that was.
        self._apps: list[tuple[weakref.ref[Flask], Place]] = []
        self._only: Flask | None = None
        #: Where the last application was bound.
        self._bound_at: Place | None = None
        #: Made after that, and not for one application alone.
        self._shared: list[tuple[Route, Kin]] = []
        #: The paths of all that were made after that.
        self._later_paths: dict[str, None] = {}
        #: The applications that were looked at for those.
        self._looked_at: weakref.WeakSet[Flask] = weakref.WeakSet()

    @property
    def is_bound(self) -> bool:
        return self._bound_at is not None

    @property
    def apps(self) -> list[Flask]:
        """Those that are alive, in the order in which they were bound."""
        return [app for app, _ in self._living()]

    def _living(self) -> list[tuple[Flask, Place]]:
        pairs = ((reference(), place) for reference, place in self._apps)
        return [(app, place) for app, place in pairs if app is not None]

    def bind(self, app: Flask, frame: FrameType) -> None:
        """Give an application its routes.

        :param frame: of the caller of ``init_app``.
        """
        self._only = None if self.is_bound else app
        self._bound_at = place = place_of(frame, app)
        self._apps = [(weakref.ref(alive), its_place) for alive, its_place in self._living()]
        self._apps.append((weakref.ref(app), place))
        if self.bp is not None:
            app.register_blueprint(self.bp)
        for route, kin in self._shared:
            if kin.includes(place):
                route.register(app)

    def add(self, route: Route, frame: FrameType) -> None:
        """Make a route.

        :param frame: of the caller of the decorator.
        """
        if self._bound_at is None:
            if self.bp is None:
                self.bp = Blueprint("__flask_websockets", __name__)
            route.register(self.bp)
            return
        living = self._living()
        for app, _ in living[-1:]:
            route.register(app)
        self._later_paths[route.path] = None
        kin = kin_of(place_of(frame), self._bound_at)
        if kin is not None:
            for app, place in living[:-1]:
                if kin.includes(place):
                    self._register_early(route, app)
            self._shared.append((route, kin))

    def _register_early(self, route: Route, app: Flask) -> None:
        if not app._got_first_request:
            route.register(app)
            return
        LOGGER.warning(
            "the application %r serves already, and has no WebSocket route %s: make the route before "
            "that, or before init_app()",
            app.name,
            route.path,
        )

    def note_unmatched(self, app: Flask, path: str) -> None:
        """A handshake has a URL that the application has no route for: log, once, if other applications
        have routes that it could be meant to have."""
        if not self._later_paths or app in self._looked_at:
            return
        self._looked_at.add(app)
        has = {rule.rule for rule in app.url_map.iter_rules()}
        missing = [rule for rule in self._later_paths if rule not in has]
        if missing:
            LOGGER.warning(
                "the application %r has no WebSocket route for %r. The routes %s were made after "
                "init_app() of another application, and for that one: make them before, or for "
                "each, or on a blueprint",
                app.name,
                path,
                ", ".join(missing),
            )
