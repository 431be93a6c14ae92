"""Which view a handshake belongs to: Flask's own match, once, and what runs in it."""

from __future__ import annotations

import gc
import logging
import sqlite3
import threading
import weakref

import flask
import pytest
from conftest import wait_for
from test_handshake import handshake, split
from werkzeug.exceptions import Forbidden
from werkzeug.routing import BaseConverter, Map, Rule, ValidationError

from flask_websockets import WebSocketView

KINDS = ["function", "class", "async"]


def add(application, kind, rule, **options):
    """A view of one kind, which sends the value of the URL, and then what it receives."""
    if kind == "function":

        @application.route(rule, **options)
        def function(ws, value):
            ws.send(str(value))
            for data in ws.iter_data():
                ws.send(data)

    elif kind == "class":

        @application.route(rule, **options)
        class View(WebSocketView):
            def on_open(self, ws, value):
                ws.send(str(value))

            def on_message(self, ws, data):
                ws.send(data)

    else:

        @application.route(rule, **options)
        async def coroutine(ws, value):
            await ws.send(str(value))
            async for data in ws:
                await ws.send(data)


#: What a client sends to end a websocket.
CLOSE = "\x88\x80\0\0\0\0"


def status(server, path, **changes) -> int:
    return split(server.request(handshake(f"GET {path} HTTP/1.1", **changes) + CLOSE))[0]


def received(server, path, **options) -> str:
    return server.connect(path, **options).recv()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_converters_may_use_what_they_may_use_on_a_page(application, kind):
    """The application, the session, URLs and a database; and they run once."""
    calls = []

    class Room(BaseConverter):
        def to_python(self, value):
            calls.append(value)
            if value not in flask.current_app.config["ROOMS"]:
                raise ValidationError
            database = flask.g.database = sqlite3.connect(":memory:")
            number = database.execute("select 40 + 2").fetchone()[0]
            user = flask.session.get("user", "nobody")
            return f"{user} {number} {flask.url_for('home')}"

    application.app.secret_key = "s"
    application.app.config["ROOMS"] = {"red"}
    application.app.url_map.converters["room"] = Room
    application.app.add_url_rule("/home", "home", lambda: "home")
    application.app.add_url_rule("/page/<room:value>", "page", lambda value: value)

    @application.app.before_request
    def close():
        if "database" in flask.g:  # this raises in another thread than that of the converter
            flask.g.pop("database").close()

    add(application, kind, "/ws/<room:value>")
    server = application.serve()
    page = split(server.request("GET /page/red HTTP/1.1\nHost: localhost\n\n"))
    assert page[2] == "nobody 42 /home"
    del calls[:]
    client = server.connect("/ws/red")
    assert client.recv() == "nobody 42 /home"
    for data in ("one", "two"):
        client.send(data)
        assert client.recv() == data
    client.close()
    assert calls == ["red"]
    assert status(server, "/ws/blue") == 404
    assert calls == ["red", "blue"]


def test_what_else_a_converter_raises(application, kind, caplog):
    class Bad(BaseConverter):
        def to_python(self, value):
            if value == "forbidden":
                raise Forbidden
            raise LookupError("a bug in the converter")

    application.app.url_map.converters["bad"] = Bad
    application.app.add_url_rule("/page/<bad:value>", "page", lambda value: value)
    add(application, kind, "/ws/<bad:value>")
    server = application.serve()
    assert status(server, "/ws/forbidden") == 403
    with caplog.at_level(logging.ERROR):
        assert status(server, "/ws/anything") == 500
        assert split(server.request("GET /page/x HTTP/1.1\nHost: localhost\n\n"))[0] == 500
    reports = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in reports] == [LookupError, LookupError]
    assert [record.message[:17] for record in reports] == ["Exception on /ws/", "Exception on /pag"]


def test_a_url_is_matched_again_each_time(application, kind):
    """What is kept is where the view runs, never what a converter said."""
    rooms = {"red"}

    class Room(BaseConverter):
        def to_python(self, value):
            if value not in rooms:
                raise ValidationError
            return f"the {value} room"

    application.app.url_map.converters["room"] = Room
    add(application, kind, "/ws/<room:value>")
    server = application.serve()
    assert status(server, "/ws/blue") == 404
    assert received(server, "/ws/red") == "the red room"
    rooms.remove("red")
    rooms.add("blue")
    assert status(server, "/ws/red") == 404
    assert received(server, "/ws/blue") == "the blue room"


def test_an_application_that_chooses_its_routes_by_the_request(application):
    """By a cookie, say: what one client is given must not decide for another."""
    app = application.app
    add(application, "function", "/ws/<value>", endpoint="function")
    add(application, "class", "/other/<value>", endpoint="class")
    tenant = Map([Rule("/ws/<value>", endpoint="class", methods=["GET"], websocket=True)])
    usual = app.create_url_adapter

    def create_url_adapter(request):
        if request is not None and request.cookies.get("tenant"):
            return tenant.bind_to_environ(request.environ)
        return usual(request)

    app.create_url_adapter = create_url_adapter
    server = application.serve()
    for _ in range(2):
        assert received(server, "/ws/plain") == "plain"
        assert received(server, "/ws/tenant", cookie="tenant=1") == "tenant"
        assert status(server, "/other/x", Cookie="tenant=1") == 404


def test_maps_that_are_made_for_each_request_go_again(application):
    app = application.app
    add(application, "function", "/usual/<value>", endpoint="function")
    made = []

    def create_url_adapter(request):
        if request is None:
            return None
        rule = Rule("/ws/<int:value>", endpoint="function", methods=["GET"], websocket=True)
        url_map = Map([rule])
        made.append(weakref.ref(url_map))
        return url_map.bind_to_environ(request.environ)

    app.create_url_adapter = create_url_adapter
    server = application.serve()
    for number in range(5):
        client = server.connect(f"/ws/{number}")
        assert client.recv() == str(number)
        client.close()
    wait_for(lambda: application.app.extensions["flask_websockets.runtime"]._handlers == 0)
    wait_for(lambda: gc.collect() >= 0 and not any(reference() for reference in made), 10, "the maps")


@pytest.mark.parametrize("options", [{}, {"subdomain": "<sub>"}], ids=["path", "subdomain"])
def test_all_that_a_rule_may_have(application, kind, options):
    app = application.app
    if options:
        app.config["SERVER_NAME"] = "example.com"
        app.subdomain_matching = True

        @app.url_value_preprocessor
        def drop(_, values):
            if values is not None:
                values.pop("sub", None)

    add(application, kind, "/int/<int:value>", **options)
    add(application, kind, "/any/<any(one, two):value>/", endpoint="any", **options)
    add(application, kind, "/deep/<path:value>/end", endpoint="deep", **options)
    add(application, kind, "/fixed", endpoint="fixed", defaults={"value": "by default"}, **options)
    server = application.serve()
    host = {"host": "sub.example.com", "suppress_origin": True} if options else {}
    assert received(server, "/int/42", **host) == "42"
    assert received(server, "/any/two/", **host) == "two"
    assert received(server, "/deep/a/b/end", **host) == "a/b"
    assert received(server, "/fixed", **host) == "by default"
    headers = {"Host": "sub.example.com"} if options else {}
    assert status(server, "/any/two", **headers) == 308
    assert status(server, "/int/x", **headers) == 404
    assert status(server, "/int//1", **headers) == 308


def test_of_several_routes_for_a_url_the_first(application):
    """As Flask takes it, also if its endpoint has come later than that of another."""
    add(application, "class", "/class/<value>", endpoint="class")
    add(application, "function", "/ws/<value>", endpoint="function")
    for rule in ("/ws/<value>", "/ws/<string(minlength=1):value>", "/ws/<path:value>"):
        application.app.add_url_rule(rule, "class", websocket=True)
    server = application.serve()
    for path, value in {"/ws/a": "a", "/class/a": "a", "/ws/a/b": "a/b"}.items():
        assert received(server, path) == value


def test_a_class_of_rules_of_the_applications_own(application, kind):
    """Flask does not ask it to be copied, and neither do we."""

    class Owned(Rule):
        def __init__(self, *arguments, owner, **options):
            super().__init__(*arguments, **options)
            self.owner = owner

    application.app.url_rule_class = Owned
    add(application, kind, "/ws/<value>", owner="somebody")
    server = application.serve()
    assert received(server, "/ws/a") == "a"
    rules = [rule for rule in application.app.url_map.iter_rules() if rule.websocket]
    assert [(rule.owner, rule.map) for rule in rules] == [("somebody", application.app.url_map)]


def test_routes_that_come_later(application, kind):
    add(application, kind, "/ws/<value>")
    server = application.serve()
    assert received(server, "/ws/first") == "first"
    rule = next(rule for rule in application.app.url_map.iter_rules() if rule.websocket)
    later = Rule("/later/<value>", endpoint=rule.endpoint, methods=["GET"], websocket=True)
    application.app.url_map.add(later)
    assert received(server, "/later/second") == "second"


def test_websockets_of_other_extensions_keep_the_server(application, kind):
    """Its thread, its socket and what it reads from; also where their URL lies among ours."""
    seen = []
    inputs = []
    inside = application.app.wsgi_app.wsgi_app

    def watching(environ, start_response):
        inputs.append(environ["wsgi.input"])
        return inside(environ, start_response)

    def theirs():
        environ = flask.request.environ
        seen.append(threading.current_thread().name)
        seen.append(environ["werkzeug.socket"].fileno() >= 0)
        return "theirs", 200

    application.app.wsgi_app.wsgi_app = watching
    application.app.add_url_rule("/ws/theirs", "theirs", theirs, websocket=True)
    add(application, kind, "/ws/<value>")
    server = application.serve()
    assert split(server.request(handshake("GET /ws/theirs HTTP/1.1")))[2] == "theirs"
    assert "process_request_thread" in seen[0] and seen[1]
    assert hasattr(inputs[0], "raw")  # the server's own, of which a websocket can be read
    assert received(server, "/ws/ours") == "ours"


def test_a_path_that_is_changed_between_us_and_flask(application):
    """The view is of another kind than was found: words, instead of a connection that cannot work."""
    add(application, "function", "/function/<value>")
    add(application, "class", "/class/<value>")
    inside = application.app.wsgi_app.wsgi_app

    def changing(environ, start_response):
        environ["PATH_INFO"] = environ["PATH_INFO"].replace("/x/", "/").replace("function", "class")
        return inside(environ, start_response)

    application.app.wsgi_app.wsgi_app = changing
    server = application.serve()
    for path in ("/function/a", "/x/class/a"):
        got, _, text = split(server.request(handshake(f"GET {path} HTTP/1.1")))
        assert (got, "its path was changed on the way" in text) == (501, True)
    assert received(server, "/class/a") == "a"


@pytest.mark.parametrize("value", ["h2c, websocket", "WebSocket,h2c", "foo/1, WEBSOCKET"])
def test_a_list_of_protocols_to_upgrade_to(application, kind, value):
    """RFC 9110, section 7.8: the server chooses one."""
    add(application, kind, "/ws/<value>")
    application.app.add_url_rule("/page", "page", lambda: flask.request.headers["Upgrade"])
    server = application.serve()
    assert status(server, "/ws/a", Upgrade=value) == 101
    got, _, text = split(server.request(handshake("GET /page HTTP/1.1", Upgrade=value)))
    assert (got, text) == (200, value)
    assert status(server, "/ws/a", Upgrade="h2c") == 426
    assert status(server, "/ws/a", Upgrade=value, Connection="keep-alive") == 400


@pytest.mark.parametrize("kind", KINDS)
def test_a_redirect_is_said(application, kind, caplog):
    """Of a path that lacks the slash of its rule, or has two where there is one."""
    add(application, kind, "/chat/<value>/")
    server = application.serve()
    path = f"/chat/{kind}"
    for asked in (path, path, f"/chat//{kind}/"):
        status, fields, _ = split(server.request(handshake(f"GET {asked} HTTP/1.1")))
        assert status == 308
        assert fields["location"].endswith(f"{path}/")
    said = [record.message for record in caplog.records if "is redirected to" in record.message]
    assert len(said) == 2
    assert f"of {path} is redirected to " in said[0]
    assert f"{path}/, which no browser follows" in said[0]
