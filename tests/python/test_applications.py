"""One extension object and several applications: which has which routes, and what is left of those that
nobody has any more."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import threading
import types
import weakref

import flask
import pytest
import websocket
from conftest import Server, run_to_the_end, thread_names, wait_for

from flask_websockets import WebSockets, WebSocketView


def paths(app):
    return {rule.rule for rule in app.url_map.iter_rules() if rule.websocket}


def serve(app, websockets):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    return Server(app, websockets)


@pytest.fixture
def run():
    """Runs lines as a module of their own."""
    names = []

    def run(lines, **values):
        name = f"module_of_{__name__}_{len(names)}"
        module = sys.modules[name] = types.ModuleType(name)
        names.append(name)
        module.__dict__.update(values)
        exec(compile("import flask\n" + lines, name, "exec"), module.__dict__)
        return module

    yield run
    for name in names:
        del sys.modules[name]


def test_what_the_first_factory_imports_is_for_every_application(run):
    websockets = WebSockets()

    def create_app(name, routes):
        app = flask.Flask(name)
        websockets.init_app(app)
        if routes:  # as ``import`` does, which runs a module once
            run(
                "@websockets.route('/imported')\n"
                "def handler(ws): ws.send(flask.current_app.name)\n"
                "class Namespace:\n"
                "    @websockets.route('/inside')\n"
                "    @staticmethod\n"
                "    def inside(ws): pass\n"
                "def helper(path): return websockets.route(path, endpoint=path)\n"
                "[helper(path)(handler) for path in ('/one', '/two')]\n",
                websockets=websockets,
            )
        return app

    apps = [create_app("first", True), create_app("second", False), create_app("third", False)]
    for app in apps:
        assert paths(app) == {"/imported", "/inside", "/one", "/two"}
        server = serve(app, websockets)
        try:
            assert server.connect("/imported").recv() == app.name
        finally:
            server.stop()


def test_routes_between_two_applications_and_after_both(run):
    module = run(
        "one, other = flask.Flask('one'), flask.Flask('other')\n"
        "websockets.init_app(one)\n"
        "def make_app():\n    app = flask.Flask('made')\n    websockets.init_app(app)\n    return app\n"
        "def make_routes():\n    websockets.route('/called', endpoint='called')(handler)\n"
        "@websockets.route('/between')\n"
        "def handler(ws): pass\n"
        "websockets.init_app(other)\n"
        "websockets.route('/after', endpoint='after')(handler)\n"
        "made = make_app()\n"
        "make_routes()\n"
        "last = make_app()\n",
        websockets=WebSockets(),
    )
    for app in (module.one, module.other, module.made, module.last):
        assert paths(app) == {"/between", "/after", "/called"}
    assert module.websockets.app is module.last


@pytest.mark.parametrize("early", [False, True])
def test_a_factory_makes_routes_for_its_application_only(early):
    """Whether it makes them is its own choice, and its handlers may refer to that application."""
    websockets = WebSockets()
    if early:

        @websockets.route("/early")
        def early_one(ws):
            pass

    def bind(app):
        websockets.init_app(app)

    def create_app(name, chat):
        app = flask.Flask(name)
        bind(app)

        @websockets.route("/ws")
        def handler(ws):
            ws.send(name)

        if chat:
            websockets.route("/chat", endpoint="chat")(handler)
        return app

    apps = [create_app("one", True), create_app("two", False), create_app("three", True)]
    always = {"/ws", "/early"} if early else {"/ws"}
    assert [paths(app) for app in apps] == [always | {"/chat"}, always, always | {"/chat"}]
    for app in apps:
        server = serve(app, websockets)
        try:
            assert server.connect("/ws").recv() == app.name
        finally:
            server.stop()


def test_routes_that_only_another_application_has_are_said_at_the_first_handshake_in_vain(caplog):
    websockets = WebSockets()
    one, other = flask.Flask("one"), flask.Flask("other")
    websockets.init_app(one)

    @websockets.route("/late")
    def handler(ws):
        ws.send("here")

    websockets.init_app(other)
    for app, said in ((one, 0), (other, 1)):
        server = serve(app, websockets)
        try:
            for _ in range(2):
                with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
                    server.connect("/elsewhere" if app is one else "/late")
        finally:
            server.stop()
        assert len(caplog.records) == said
    assert caplog.records[0].getMessage() == (
        "the application 'other' has no WebSocket route for '/late'. The routes /late were made after "
        "init_app() of another application, and for that one: make them before, or for each, or on a "
        "blueprint"
    )


def test_two_modules_with_an_application_each_share_nothing_but_the_extension(run, caplog):
    """The routes of one are behind its before_request functions; nothing would keep them elsewhere."""
    websockets = WebSockets()
    lines = (
        "app = flask.Flask(NAME)\n"
        "websockets.init_app(app)\n"
        "@app.before_request\n"
        "def guard(): NAME == 'admin' and flask.abort(401)\n"
        "@websockets.route('/of-' + NAME)\n"
        "def index(ws): ws.send(NAME)\n"
    )
    admin = run(lines, websockets=websockets, NAME="admin").app
    public = run(lines, websockets=websockets, NAME="public").app
    assert (paths(admin), paths(public)) == ({"/of-admin"}, {"/of-public"})
    server = serve(public, websockets)
    try:
        assert server.connect("/of-public").recv() == "public"
        with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
            server.connect("/of-admin")
    finally:
        server.stop()
    assert "The routes /of-admin were made after init_app() of another app" in caplog.text


def test_helpers_that_several_factories_share_share_no_routes(run):
    """Neither one that binds an application which it is given, nor one that makes it."""
    websockets = WebSockets()
    common = run(
        "def init_extensions(app):\n    websockets.init_app(app)\n"
        "def make_app(name):\n    app = flask.Flask(name)\n    init_extensions(app)\n    return app\n",
        websockets=websockets,
    )

    def module_of(path):
        run(f"@websockets.route('/{path}')\ndef index(ws): pass\n", websockets=websockets)

    def create_admin():
        app = flask.Flask("admin")
        common.init_extensions(app)
        if "admin" not in imported:
            module_of(imported.setdefault("admin", "admin"))
        return app

    def create_public():
        app = flask.Flask("public")
        common.init_extensions(app)
        if "public" not in imported:
            module_of(imported.setdefault("public", "public"))
        return app

    imported = {}
    apps = [create_admin(), create_public(), create_admin(), create_public()]
    assert [paths(app) for app in apps] == [{"/admin"}, {"/public"}] * 2
    made = []
    for name in ("a", "b"):  # each a module that has its application made for it
        lines = f"app = make_app('{name}')\n@websockets.route('/{name}')\ndef index(ws): pass\n"
        made.append(run(lines, websockets=websockets, make_app=common.make_app).app)
    first = common.make_app("c")
    module_of("c")
    assert [paths(app) for app in (*made, first)] == [{"/a"}, {"/b"}, {"/c"}]
    assert paths(common.make_app("d")) == set()


def test_a_package_that_imports_its_views_at_its_end(run):
    websockets = WebSockets()

    def import_views():
        run("@websockets.route('/ws')\ndef handler(ws): pass\n", websockets=websockets)

    package = run(
        "one = flask.Flask('one')\nwebsockets.init_app(one)\nimport_views()\n"
        "two = flask.Flask('two')\nwebsockets.init_app(two)\n",
        websockets=websockets,
        import_views=import_views,
    )
    assert paths(package.one) == paths(package.two) == {"/ws"}


def test_one_blueprint_on_several_applications():
    websockets = WebSockets()
    part = flask.Blueprint("part", __name__)

    @websockets.route("/first", bp=part)
    @websockets.route("/second", bp=part)
    def handler(ws):
        ws.send(flask.request.endpoint)

    for prefix in ("/one", "/two"):
        app = flask.Flask(__name__)
        websockets.init_app(app)
        app.register_blueprint(part, url_prefix=prefix)
        assert paths(app) == {f"{prefix}/first", f"{prefix}/second"}
        server = serve(app, websockets)
        try:
            assert server.connect(f"{prefix}/first").recv() == "part.handler"
        finally:
            server.stop()


def test_a_blueprint_on_an_application_that_nothing_is_bound_to(caplog):
    websockets = WebSockets()
    part = flask.Blueprint("part", __name__)

    @websockets.route("/ws", bp=part)
    def handler(ws):
        ws.send(flask.current_app.name)

    app = flask.Flask("unbound")
    app.register_blueprint(part)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    answer = app.test_client().get("/ws", base_url="ws://localhost", headers=headers)
    assert answer.status_code == 500
    (record,) = caplog.records
    assert str(record.exc_info[1]) == (
        "the application 'unbound' has WebSocket routes of a blueprint, and no WebSockets object "
        "is bound to it: call websockets.init_app(app)"
    )
    later = flask.Flask("later")
    later.register_blueprint(part)
    websockets.init_app(later)
    server = serve(later, websockets)
    try:
        assert server.connect("/ws").recv() == "later"
    finally:
        server.stop()


def test_an_application_that_serves_already_takes_no_more_routes(run, caplog):
    websockets = WebSockets()
    serving, other = flask.Flask("serving"), flask.Flask("other")
    run(
        "websockets.init_app(serving)\nwebsockets.init_app(other)\n"
        "assert serving.test_client().get('/').status_code == 404\n"
        "@websockets.route('/late')\ndef handler(ws): pass\n",
        websockets=websockets,
        serving=serving,
        other=other,
    )
    assert (paths(serving), paths(other)) == (set(), {"/late"})
    assert [record.getMessage() for record in caplog.records] == [
        "the application 'serving' serves already, and has no WebSocket route /late: make the route "
        "before that, or before init_app()"
    ]


def test_binding_the_same_application_again_changes_nothing():
    websockets = WebSockets()

    @websockets.route("/ws")
    def handler(ws):
        ws.send(flask.current_app.name)

    app = flask.Flask("twice")
    websockets.init_app(app)
    wsgi_app, runtime = app.wsgi_app, app.extensions["flask_websockets.runtime"]
    websockets.init_app(app)
    assert app.wsgi_app is wsgi_app and app.extensions["flask_websockets.runtime"] is runtime
    assert [rule.rule for rule in app.url_map.iter_rules() if rule.websocket] == ["/ws"]
    assert websockets.publish("x", "nobody") == 0  # there is still one application only
    also = WebSockets(app_of := flask.Flask("other"))
    also.init_app(app_of)
    with pytest.raises(RuntimeError, match="'other' has a WebSockets object already; make all"):
        websockets.init_app(app_of)
    assert websockets.app is app
    server = serve(app, websockets)
    try:
        assert server.connect("/ws").recv() == "twice"
    finally:
        server.stop()


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def exit_hooks():
    """What the interpreter will call at its end."""
    return atexit._ncallbacks() + len(threading._threading_atexits)


def engine_threads():
    return sum(name.startswith("fws") for name in thread_names())


def use(app, websockets, stop):
    """One websocket of each kind of view, and a publication.

    :param stop: shut the runtime down; else only the server, as nobody else would.
    """
    server = serve(app, websockets)
    runtime = app.extensions["flask_websockets.runtime"]
    try:
        for path in ("/function", "/class", "/async"):
            client = server.connect(path)
            client.send("x")
            assert client.recv() == app.name
            with app.app_context():
                assert websockets.publish("y", "all") == 1
            assert client.recv() == "y"
            client.close()
        wait_for(lambda: runtime._counted() == 0, what="the handlers to end")
    finally:
        if stop:
            server.stop()
        else:
            server.http.shutdown()
            server.thread.join()
            server.http.server_close()


@pytest.mark.parametrize("shared", [True, False])
def test_a_hundred_applications_leave_nothing(shared):
    one_for_all = WebSockets()

    def create_app(name):
        app = flask.Flask(name)
        websockets = one_for_all if shared else WebSockets()
        websockets.init_app(app)

        @websockets.route("/function")
        def function(ws):
            with websockets.subscribe(ws, "all"):
                for _ in ws.iter_data():
                    ws.send(app.name)

        @websockets.route("/class")
        class View(WebSocketView):
            def on_open(self, ws):
                websockets.subscribe(ws, "all")

            def on_message(self, ws, data):
                ws.send(app.name)

        @websockets.route("/async")
        async def coroutine(ws):
            websockets.subscribe(ws, "all")
            async for _ in ws:
                await ws.send(app.name)

        return app, websockets

    def live_and_end(number):
        app, websockets = create_app(f"app {number}")
        if number % 10 < 2:
            use(app, websockets, stop=number % 10 == 0)
        elif number % 10 == 2:
            with app.app_context():
                assert websockets.publish("nobody is there", "all") == 0
        return weakref.ref(app), weakref.ref(app.extensions["flask_websockets.runtime"])

    def all_freed(references):
        gc.collect()
        return engine_threads() == 0 and not any(kind() for pair in references for kind in pair)

    first = [live_and_end(number) for number in (0, 1)]  # what a process makes once
    wait_for(lambda: all_freed(first), 20, what="the first applications to be freed")
    descriptors, hooks = open_descriptors(), exit_hooks()
    references = [live_and_end(number) for number in range(100)]
    wait_for(lambda: all_freed(references), 20, what="all applications to be freed")
    assert open_descriptors() <= descriptors
    assert exit_hooks() == hooks
    assert one_for_all.app is None or not shared
    if shared:
        assert one_for_all.publish("x", "all") == 0  # as before init_app()


def test_several_applications_end_at_the_same_time():
    """Each handler here waits for the other application's to see its end."""
    done = run_to_the_end("""
import threading
import flask, websocket
from werkzeug.serving import make_server
from flask_websockets import WebSockets

ends = [threading.Event(), threading.Event()]

def serve(number):
    app = flask.Flask(f"app{number}")
    websockets = WebSockets(app)

    @websockets.route("/ws")
    def handler(ws):
        ws.send("in")
        for _ in ws.iter_data():
            pass
        ends[number].set()
        if ends[1 - number].wait(30):
            print("both", flush=True)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return websocket.create_connection(f"ws://127.0.0.1:{server.server_port}/ws", timeout=10)

clients = [serve(0), serve(1)]
assert [client.recv() for client in clients] == ["in", "in"]
def answer_the_close(client):
    try:
        client.recv()
    except Exception:
        pass
for client in clients:
    threading.Thread(target=answer_the_close, args=[client], daemon=True).start()
""")
    assert done.stdout.count("both") == 2
    assert "had not ended" not in done.stderr
