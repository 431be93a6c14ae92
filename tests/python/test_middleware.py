"""Applications that answer a handshake in all ways of PEP 3333, behind the middleware, with each kind
of view."""

from __future__ import annotations

import threading

import flask
import pytest
from test_handshake import handshake, split
from test_views import KINDS, add_view, ask, ended

from flask_websockets import WebSocketView


@pytest.fixture(params=["function", "class", "async"])
def refusing(request, application):
    """An application with a view of each kind that refuses."""
    if request.param == "function":

        @application.route("/ws")
        def refuse(ws):
            flask.abort(403, "not you")

    elif request.param == "class":

        @application.route("/ws")
        class Refuse(WebSocketView):
            def on_open(self, ws):
                flask.abort(403, "not you")

            def on_message(self, ws, data):
                pass

    else:

        @application.route("/ws")
        async def refuse(ws):
            flask.abort(403, "not you")

    return application


def behind(application, around):
    """Its server, with a WSGI middleware between this extension and Flask."""
    inside = application.app.wsgi_app
    inside.wsgi_app = around(inside.wsgi_app)
    return application.serve()


def test_a_plain_answer(refusing):
    status, _, text = split(refusing.serve().request(handshake()))
    assert (status, "not you" in text) == (403, True)


def test_an_application_that_calls_start_response_as_late_as_its_body_is_read(refusing):
    def around(app):
        def generator(environ, start_response):
            yield from app(environ, start_response)

        return generator

    status, headers, text = split(behind(refusing, around).request(handshake()))
    assert (status, "not you" in text) == (403, True)
    assert headers["content-type"].startswith("text/html")


def test_an_application_that_writes_before_it_returns(refusing):
    closed = []

    class Rest(list):
        def close(self):
            closed.append(True)

    def around(app):
        def writing(environ, start_response):
            write = start_response("402 Payment Required", [("X-Price", "1"), ("Content-Length", "22")])
            write(b"pay ")
            write(b"first, ")
            return Rest([b"then", b" enter"])

        return writing

    status, headers, text = split(behind(refusing, around).request(handshake()))
    assert (status, headers["x-price"], text) == (402, "1", "pay first, then enter")
    assert closed == [True]


@pytest.mark.parametrize(("kind", "late"), [*((kind, False) for kind in KINDS), ("function", True)])
def test_a_middleware_sees_the_status_that_the_client_got(application, kind, late):
    """As every application calls start_response, middlewares rely on that."""
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 60
    statuses, release = [], threading.Event()

    def around(app):
        def middleware(environ, start_response):
            seen = []

            def start(status, headers, exc_info=None):
                seen.append(status)
                return start_response(status, headers, exc_info)

            body = app(environ, start)
            statuses.append(int(seen[0][:3]))  # an error if nobody has called it
            return body

        return middleware

    def opening(ws):
        if late:
            release.wait(10)

    if late:
        application.app.config["WEBSOCKETS_HANDSHAKE_TIMEOUT"] = 0.2
    add_view(application, kind, lambda ws, data: data, opening)
    server = behind(application, around)
    if late:
        assert split(server.request(handshake()))[0] == 503
        release.set()
    else:
        client = server.connect("/ws")
        assert ask(client, "x") == "x"
        client.close()
    ended(application)
    assert statuses == [503 if late else 101]
