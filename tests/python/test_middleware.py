"""Applications that answer a handshake in all ways of PEP 3333, behind the middleware, with each kind
of view."""

from __future__ import annotations

import threading
import urllib.request

import flask
import pytest
from conftest import Server, wait_for
from test_handshake import handshake, split
from test_views import KINDS, add_view, ask, ended

from flask_websockets import WebSockets, WebSocketView


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


def without_prefix(inner, calls, copies):
    """The usual middleware for an application under /app."""

    def middleware(environ, start_response):
        calls.append(environ["PATH_INFO"])
        if copies:
            environ = dict(environ)
        if environ["PATH_INFO"].startswith("/app/"):
            environ["SCRIPT_NAME"] = "/app"
            environ["PATH_INFO"] = environ["PATH_INFO"][4:]
        try:
            return inner(environ, start_response)
        except Exception as error:
            calls.append(error)
            raise

    return middleware


class Behind:
    """An application that had a middleware when the extension was bound to it."""

    def __init__(self, around):
        self.app = flask.Flask("tested")
        self.app.wsgi_app = around(self.app.wsgi_app)
        self.websockets = WebSockets(self.app)
        self.route = self.websockets.route


@pytest.fixture
def serve():
    """Starts a server for such an application."""
    started = []

    def start(behind):
        started.append(Server(behind.app, behind.websockets))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_middleware_from_before_that_changes_the_path(kind, copies, serve):
    """It is called a second time for a handshake; the application is not."""
    calls, functions = [], []
    tested = Behind(lambda inner: without_prefix(inner, calls, copies))
    add_view(tested, kind, lambda ws, data: f"{ws.environ['SCRIPT_NAME']} {data}")
    tested.app.before_request(lambda: functions.append("before"))
    tested.app.teardown_request(lambda error: functions.append("teardown"))
    tested.app.add_url_rule("/page", "page", lambda: flask.url_for("page"))
    server = serve(tested)
    for text in ("one", "two"):
        client = server.connect("/app/ws")
        assert ask(client, text) == f"/app {text}"
        client.close()
        wait_for(lambda: functions == ["before", "teardown"], what=functions)
        assert calls == ["/app/ws", "/app/ws"]
        calls.clear()
        functions.clear()
    # What is no websocket of ours is called once, also as a handshake.
    for path, status in (("/app/page", 400), ("/app/none", 404)):
        assert split(server.request(handshake(f"GET {path} HTTP/1.1")))[0] == status
        assert calls == [path]
        calls.clear()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/app/page", timeout=10) as page:
        assert page.read() == b"/app/page"


def test_such_a_middleware_that_calls_the_application_late(serve):
    """What a generator does, and when, is not known: the answer says what to write."""

    def around(app):
        inner = without_prefix(app, [], False)

        def late(environ, start_response):
            yield from inner(environ, start_response)

        return late

    tested = Behind(around)
    add_view(tested, "function", lambda ws, data: data)
    status, _, text = split(serve(tested).request(handshake("GET /app/ws HTTP/1.1")))
    assert (status, "Wrap app.wsgi_app after WebSockets(app)" in text) == (501, True)


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
    # The client may have its answer before the server's thread is back in the middleware.
    wait_for(lambda: statuses)
    assert statuses == [503 if late else 101]
