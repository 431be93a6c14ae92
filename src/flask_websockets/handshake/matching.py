"""Which WebSocket route a URL belongs to, without a call of the application's code.

Where a view runs has to be known before the application is called. The match that counts is Flask's
own: once, within the application's context and in the thread of the view. There its URL converters may
use ``current_app``, the session or a database. So what is matched here is a copy of the routes, whose
converters leave the text as it is. Which route a URL belongs to does not depend on what a converter
makes of the text: it can only refuse, and then Flask answers with 404.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule
from werkzeug.routing.matcher import State

from .._core import list_contains
from ..keys import VIEW_MARK
from ..records import warn_seldom

__all__ = ("UrlMatching",)

#: The keys of the environment that Flask's own URL matching depends on.
MATCHED_KEYS = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "SCRIPT_NAME",
    "PATH_INFO",
    "HTTP_UPGRADE",
    "HTTP_CONNECTION",
)

#: How many results of the matching are kept. Clients choose the URLs, so both their number and their
#: length are limited.
CACHED_URLS_MAX = 256
#: Characters.
CACHED_PATH_MAX = 200


class UrlMatching:
    """The WebSocket routes of an application, those of other extensions among them.

    :param app: the application; routes may still be added to it.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        #: For each URL map of the application, usually one: how many rules it had, and the copy.
        self._copies: weakref.WeakKeyDictionary[Map, tuple[int, Map]] = weakref.WeakKeyDictionary()
        #: For URLs that have been matched: where their views run. An outdated entry does no harm,
        #: because Flask matches the URL again.
        self._places: dict[tuple[Any, ...], str] = {}

    def place(self, environ: dict[str, Any]) -> str | None:
        """Where the view of this URL runs; None when it is not a view of this extension: an ordinary
        page, or a websocket of another extension. Those keep the server's thread and socket.

        :param environ: the WSGI environment of a GET with ``Upgrade: websocket``.
        """
        url = tuple(map(environ.get, MATCHED_KEYS))
        place = self._places.get(url)
        if place is not None:
            return place
        place = self._match(environ)
        if place is not None and self._depends_on_these_keys(environ):
            if len(self._places) >= CACHED_URLS_MAX:
                self._places.clear()
            self._places[url] = place
        return place

    def _depends_on_these_keys(self, environ: dict[str, Any]) -> bool:
        """Is the URL matched by what is in ``MATCHED_KEYS`` alone? An application may choose its URL
        map by anything else in the request, such as a cookie."""
        app = self._app
        usual = getattr(app.create_url_adapter, "__func__", None) is Flask.create_url_adapter
        usual = usual and type(app.url_map).bind_to_environ is Map.bind_to_environ
        return usual and len(environ.get("PATH_INFO", "")) <= CACHED_PATH_MAX

    def _match(self, environ: dict[str, Any]) -> str | None:
        app = self._app
        try:
            # As Flask does it, which is before there is a context as well.
            adapter = app.create_url_adapter(app.request_class(environ))
            if adapter is None:
                return None
            adapter = copy.copy(adapter)
            adapter.map = self._copy(adapter.map)
            # Werkzeug takes no list in the Upgrade header, and that has been looked at.
            upgrades = list_contains(environ.get("HTTP_CONNECTION", ""), "upgrade")
            rule, _ = adapter.match(return_rule=True, websocket=upgrades)
        except RequestRedirect as redirect:
            warn_of_redirect(environ.get("PATH_INFO", ""), redirect.new_url)
            return None
        except HTTPException:
            return None
        return getattr(app.view_functions.get(rule.endpoint), VIEW_MARK, None)

    def _copy(self, url_map: Map) -> Map:
        rules = sum(1 for _ in url_map.iter_rules())
        before, copied = self._copies.get(url_map, (0, None))
        if copied is None or before != rules:
            copied = copy_websocket_rules(url_map)
            self._copies[url_map] = rules, copied
        return copied


def warn_of_redirect(path: str, url: str) -> None:
    warn_seldom(
        ("redirect", path),
        "the WebSocket handshake of %s is redirected to %s, which no browser follows: connect to that "
        "URL, or make the route with strict_slashes=False (said once a minute)",
        path,
        url,
    )


def copy_websocket_rules(url_map: Map) -> Map:
    """A map whose matching runs no code of the application. Ordinary pages are left out, as a handshake
    matches none. It refers to nothing of the original's, so that an application may make a map for each
    request.
    """
    copies = [copy_rule(rule) for rule in rules_in_order(url_map._matcher._root) if rule.websocket]
    copied = Map(
        copies,
        default_subdomain=url_map.default_subdomain,
        merge_slashes=url_map.merge_slashes,
        redirect_defaults=False,  # this would build URLs, by the application's converters
        host_matching=url_map.host_matching,
    )
    for rule in copies:
        del rule.get_converter  # has been called, and refers to the original
    return copied


def rules_in_order(state: State) -> Iterator[Rule]:
    """The rules of a map in the order in which they are tried, which ``iter_rules`` does not keep: it
    has all those of an endpoint together.

    :param state: of the matcher.
    """
    yield from state.rules
    for following in (*state.static.values(), *(following for _, following in state.dynamic)):
        yield from rules_in_order(following)


def copy_rule(rule: Rule) -> Rule:
    def get_converter(variable_name: str, *_: Any) -> BaseConverter:
        # Another instance of its class would run code of the application.
        return Text(copied.map, rule._converters[variable_name])

    # Not by rule.empty(): classes of rules need not support that, as Flask does without.
    copied = copy.copy(rule)
    copied.map = None  # type: ignore[assignment]
    copied.arguments = set(rule.arguments)
    copied.defaults = copied.redirect_to = None
    copied.alias = False
    copied.get_converter = get_converter  # type: ignore[assignment,method-assign]
    return copied


class Text(BaseConverter):
    """Stands for a converter of the application: the same text matches, and stays text."""

    def __init__(self, url_map: Map, original: BaseConverter) -> None:
        super().__init__(url_map)
        self.regex = original.regex
        self.weight = original.weight
        self.part_isolating = original.part_isolating
