"""Handshakes that are refused before the view: they are in the numbers of its route, once each."""

from __future__ import annotations

import time

import pytest
import websocket
from conftest import wait_for
from test_views import KINDS, add_view, ended
from werkzeug.routing.converters import BaseConverter, ValidationError


def refuse(*_, **__):
    return "not you", 403


def route_of(application, kind, rule="/ws", decorators=()):
    """A view that would accept."""
    add = application.route
    application.route = lambda path, **options: add(path, decorators=decorators, **options)
    add_view(application, kind, lambda ws, data: data, path=rule)


def statuses(server, path, times=2):
    for _ in range(times):
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            server.connect(path)
        yield caught.value.status_code


@pytest.mark.parametrize("after_fails", [False, True], ids=["", "after_request fails"])
@pytest.mark.parametrize("place", ["before_request", "decorator"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_before_the_view_is_counted_once(application, kind, place, after_fails):
    """Also when its answer becomes a page of an error, which Flask makes as it made the first."""
    if place == "before_request":
        application.app.before_request(refuse)

    @application.app.after_request
    def after(response):
        if after_fails and response.status_code == 403:
            raise KeyError("after")
        return response

    route_of(application, kind, decorators=[lambda view: refuse] if place == "decorator" else [])
    server = application.serve()
    assert [*statuses(server, "/ws")] == [500 if after_fails else 403] * 2
    stats = application.websockets.stats()
    assert (stats["routes"]["/ws"]["refusals"], stats["refusals"]) == (2, 2)
    assert stats["routes"]["/ws"]["opens"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_pages_and_unknown_urls_are_not_counted(application, kind):
    class Never(BaseConverter):
        def to_python(self, value):
            raise ValidationError

    app = application.app
    app.url_map.converters["never"] = Never
    add_view(application, kind, lambda ws, data: data, path="/ws")
    app.add_url_rule("/page", view_func=lambda: "a page")
    application.route("/never/<never:value>", endpoint="never")(lambda ws, value: None)
    app.before_request(lambda: None)
    server = application.serve()
    assert [*statuses(server, "/page"), *statuses(server, "/nowhere")] == [400, 400, 404, 404]
    assert [*statuses(server, "/never/x")] == [404, 404]
    assert server.request("GET /page HTTP/1.0\n\n").endswith(b"a page")
    stats = application.websockets.stats()
    assert (stats["routes"], stats["refusals"]) == ({}, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_accepted_is_none(application, kind):
    application.app.before_request(lambda: None)
    add_view(application, kind, lambda ws, data: data, path="/ws")
    client = application.serve().connect("/ws")
    client.send("x")
    assert client.recv() == "x"
    client.close()
    assert application.websockets.stats()["refusals"] == 0


def test_one_whose_time_is_over_before_the_view_is_counted_once(application):
    """The client has its 503 before the ``before_request`` function refuses, or lets it pass. (Of other
    kinds it runs in the server's own thread, which answers when it has decided.)"""
    application.app.config["WEBSOCKETS_HANDSHAKE_TIMEOUT"] = 0.1
    passes, passed = iter([True, False]), []

    @application.app.before_request
    def slow():
        time.sleep(0.4)
        passed.append(next(passes))
        return None if passed[-1] else refuse()

    add_view(application, "function", lambda ws, data: data, path="/ws")
    server = application.serve()
    for count in (1, 2):
        assert [*statuses(server, "/ws", 1)] == [503]
        wait_for(lambda count=count: len(passed) == count)
        ended(application)
        assert application.websockets.stats()["routes"]["/ws"]["refusals"] == count
    assert passed == [True, False]
