"""The extension object: binding, blueprints, routes; what flask-websockets 0.1.2 promised."""

from __future__ import annotations

import logging
import threading
import time

import flask
import pytest
from conftest import Server, wait_for

from flask_websockets import WebSocket, WebSockets


def rules(app):
    return {rule.rule: rule for rule in app.url_map.iter_rules() if rule.websocket}


def test_bound_directly_there_is_no_blueprint():
    app = flask.Flask("x")
    websockets = WebSockets(app)

    @websockets.route("/ws")
    def ws_(ws):
        pass

    assert websockets.app is app and websockets.bp is None
    assert rules(app)["/ws"].websocket is True and rules(app)["/ws"].endpoint == "ws_"


def test_routes_before_init_app_wait_in_a_blueprint():
    websockets = WebSockets()
    assert websockets.app is None and websockets.bp is None

    @websockets.route("/early")
    def early(ws):
        pass

    assert isinstance(websockets.bp, flask.Blueprint)
    app = flask.Flask("x")
    websockets.init_app(app)

    @websockets.route("/late")
    def late(ws):
        pass

    assert set(rules(app)) == {"/early", "/late"}
    assert websockets.app is app


def test_a_blueprint_with_its_prefix():
    app = flask.Flask("x")
    websockets = WebSockets(app)
    blueprint = flask.Blueprint("rooms", __name__, url_prefix="/rooms")

    @websockets.route("/<name>", bp=blueprint)
    def room(ws, name):
        ws.send(name)

    app.register_blueprint(blueprint)
    assert set(rules(app)) == {"/rooms/<name>"}
    server = Server(app, websockets)
    try:
        assert server.connect("/rooms/kitchen").recv() == "kitchen"
    finally:
        server.stop()


def test_a_factory_binds_one_extension_to_several_apps():
    websockets = WebSockets()

    @websockets.route("/ws")
    def ws_(ws):
        ws.send(flask.current_app.name)

    def create(name):
        app = flask.Flask(name)
        websockets.init_app(app)
        return app

    for app in (create("one"), create("two")):
        server = Server(app, websockets)
        try:
            assert server.connect("/ws").recv() == app.name
        finally:
            server.stop()


def test_two_extensions_on_one_app_are_an_error():
    app = flask.Flask("x")
    WebSockets(app)
    with pytest.raises(RuntimeError, match="already"):
        WebSockets(app)


def test_what_is_no_application_is_refused():
    blueprint = flask.Blueprint("chat", __name__)
    for wrong, text in (
        (blueprint, r"not to <Blueprint 'chat'>, whose routes are made with route\(path, bp=…\)"),
        ("app", r"bound to a Flask application, not to 'app'$"),
        (flask.Flask, r"not to <class 'flask.app.Flask'>$"),
    ):
        with pytest.raises(TypeError, match=text):
            WebSockets(wrong)
        with pytest.raises(TypeError, match=text):
            WebSockets().init_app(wrong)


def test_the_current_application_may_be_bound(application):
    app = flask.Flask("x")
    with app.app_context():
        websockets = WebSockets(flask.current_app)
    assert websockets.app is app


def test_a_blueprint_finds_the_extension_of_its_application():
    app = flask.Flask("x")
    websockets = WebSockets(app)
    assert app.extensions["flask_websockets"] is websockets


def bound_app(websockets, name):
    app = flask.Flask(name)
    websockets.init_app(app)
    return app, app.extensions["flask_websockets.runtime"]


def test_of_one_application_the_extension_is_used_in_whichever_context():
    first, second = WebSockets(), WebSockets()
    one, runtime = bound_app(first, "one")
    other, others = bound_app(second, "other")
    for context in (one.app_context(), other.app_context(), flask.Flask("third").app_context()):
        with context:
            assert first._runtime() is runtime and second._runtime() is others
    assert first._runtime() is runtime


def test_of_several_applications_the_current_one_counts():
    websockets = WebSockets()
    one, runtime = bound_app(websockets, "one")
    other, others = bound_app(websockets, "other")
    with one.app_context():
        assert websockets._runtime() is runtime
    with other.app_context():
        assert websockets._runtime() is others
    assert websockets._runtime() is others
    with flask.Flask("third").app_context(), pytest.raises(RuntimeError, match="init_app"):
        websockets.publish("x", "everybody")


def test_what_needs_an_application_says_so_before_init_app():
    for call in (WebSockets().stats, WebSockets().close_all):
        with pytest.raises(RuntimeError, match="init_app"):
            call()


def test_several_routes_for_one_handler_and_the_function_stays_itself():
    websockets = WebSockets(flask.Flask("x"))

    @websockets.route("/a")
    @websockets.route("/b")
    def handler(ws):
        return "called directly"

    assert handler(None) == "called directly"
    assert set(rules(websockets.app)) == {"/a", "/b"}


def test_what_route_refuses_at_decoration():
    websockets = WebSockets(flask.Flask("x"))
    with pytest.raises(ValueError, match="no methods"):
        websockets.route("/a", methods=["POST"])
    with pytest.raises(TypeError, match="async generator"):

        @websockets.route("/b")
        async def handler(ws):
            yield

    with pytest.raises(TypeError, match="a function or a WebSocketView, and dict is neither"):
        websockets.route("/c")(dict)
    with pytest.raises(TypeError, match="decorates a function"):
        websockets.route("/d")("text")


def test_a_page_and_a_websocket_can_share_a_url(application):
    @application.app.route("/both")
    def page():
        return "page"

    @application.route("/both")
    def socket(ws):
        ws.send("socket")

    server = application.serve()
    assert server.connect("/both").recv() == "socket"
    assert server.request("GET /both HTTP/1.1\nHost: x\n\n").endswith(b"page")


def test_an_exception_is_logged_once_closes_with_1011_and_tears_down(application, caplog):
    torn_down, signalled = [], []

    @application.app.teardown_request
    def tear_down(error):
        torn_down.append(flask.request.path)

    flask.got_request_exception.connect(
        lambda sender, exception: signalled.append(exception), application.app, weak=False
    )

    @application.route("/ws")
    def fails(ws):
        ws.receive()
        raise ValueError("out of the handler")

    server = application.serve()
    client = server.connect("/ws")
    client.send("x")
    assert client.recv_data() == (8, (1011).to_bytes(2, "big") + b"internal error")
    wait_for(lambda: torn_down == ["/ws"])
    records = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(records) == 1 and "out of the handler" in records[0].exc_text
    assert [str(e) for e in signalled] == ["out of the handler"]
    server.connect("/ws").close()  # the process goes on


def test_connection_closed_may_escape_in_silence(application, caplog):
    ended = threading.Event()

    @application.app.teardown_request
    def tear_down(error):
        ended.set()

    @application.route("/ws")
    def loops(ws):
        while True:
            ws.receive()

    application.serve().connect("/ws").close()
    assert ended.wait(10)
    assert caplog.records == []


def test_request_session_and_g_work_throughout(application):
    application.app.secret_key = "s"

    @application.app.before_request
    def before():
        flask.g.number = 42

    @application.route("/ws/<name>")
    def ws_(ws, name):
        for data in ws.iter_data():
            ws.send(f"{name} {data} {flask.g.number} {flask.request.headers['X-Who']} {flask.session}")

    client = application.serve().connect("/ws/n", header=["X-Who: me"])
    client.send("d")
    assert client.recv() == "n d 42 me <SecureCookieSession {}>"


def test_connections_stats_and_close_all(application):
    @application.route("/ws")
    def echo(ws):
        for data in ws.iter_data():
            ws.send(data)

    server = application.serve()
    clients = [server.connect("/ws") for _ in range(5)]
    for client in clients:
        client.send("hello")
        assert client.recv() == "hello"
    websockets = application.websockets
    assert len(websockets.connections) == 5
    assert all(isinstance(ws, WebSocket) for ws in websockets.connections)
    stats = websockets.stats()
    assert stats["connections"] == 5
    assert (stats["messages_in"], stats["messages_out"]) == (5, 5)
    assert stats["bytes_in"] == 5 * (2 + 4 + 5)
    assert stats["threads_refused"] == 0
    with pytest.raises(ValueError, match="1005"):
        websockets.close_all(1005)
    assert websockets.close_all(4000, "maintenance") == 5
    for client in clients:
        assert client.recv_data() == (8, (4000).to_bytes(2, "big") + b"maintenance")
    wait_for(lambda: websockets.stats()["connections"] == 0)
    assert websockets.connections == frozenset()


def test_a_shutdown_waits_for_handlers_but_not_for_ever(application):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.5
    release = threading.Event()

    @application.route("/ws")
    def stubborn(ws):
        ws.send("here")
        release.wait(10)

    server = application.serve()
    client = server.connect("/ws")
    client.recv()
    runtime = application.app.extensions["flask_websockets.runtime"]
    begun = time.monotonic()
    runtime.shut_down()
    assert 0.4 < time.monotonic() - begun < 2
    release.set()
    assert client.recv_data() == (8, (1001).to_bytes(2, "big") + b"server shutting down")
