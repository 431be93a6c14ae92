"""Decorators of handlers, in every order and of every kind: what they protect is protected, or it is
refused, and told where."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import sys
import types

import flask
import pytest
import websocket

from flask_websockets import WebSocketView

#: A module of an application; flask-login's decorator is made like ``login_required``.
HEAD = """
import functools, flask
from flask_websockets import WebSocketView

def check():
    if flask.request.args.get("user") != "me":
        flask.abort(401)

def login_required(f):
    @functools.wraps(f)
    def decorated_view(*args, **values):
        check()
        return flask.current_app.ensure_sync(f)(*args, **values)
    return decorated_view

def bare(f):  # without functools.wraps
    def inner(*args, **values):
        check()
        return f(*args, **values)
    return inner

def returning(f):
    @functools.wraps(f)
    def decorated_view(*args, **values):
        if flask.request.args.get("user") != "me":
            return flask.Response("who are you?", status=401)
        return f(*args, **values)
    return decorated_view

class Guard:
    def __init__(self, f):
        self.f = f
    def __call__(self, *args, **values):
        check()
        return self.f(*args, **values)

def bound(f):
    return Guard(f).__call__
"""

FUNCTION = "def handler(ws): ws.send('in')"
ASYNC = "async def handler(ws): await ws.send('in')"
CLASS = """class handler(WebSocketView):
    ATTRIBUTE
    def on_open(self, ws): ws.send('in')
    def on_message(self, ws, data): pass"""


@pytest.fixture
def run(application):
    """Runs a module with the lines given, and what decorates the handler."""
    names = []

    def run(lines, handler):
        name = f"module_of_{__name__}_{len(names)}"
        module = sys.modules[name] = types.ModuleType(name)
        names.append(name)
        module.__dict__.update(app=application.app, websockets=application.websockets)
        exec(compile(f"{HEAD}\n{lines}\n{handler}\n", name, "exec"), module.__dict__)
        return module

    yield run
    for name in names:
        del sys.modules[name]


def answer(server, path):
    try:
        return server.connect(path).recv()
    except websocket.WebSocketBadStatusException as error:
        return error.status_code


ROUTE = "@websockets.route('/ws', endpoint='ws')"

PROTECTED = [
    (f"{ROUTE}\n@login_required", FUNCTION),
    (f"{ROUTE}\n@bare", FUNCTION),
    (f"{ROUTE}\n@returning", FUNCTION),
    (f"{ROUTE}\n@Guard", FUNCTION),
    (f"{ROUTE}\n@functools.lru_cache\n@bare", FUNCTION),
    *[
        (f"@websockets.route('/ws', decorators=[{names}])", handler)
        for names in ("login_required", "bare", "returning", "Guard", "bound", "bare, login_required")
        for handler in (FUNCTION, ASYNC, CLASS.replace("ATTRIBUTE", "x = 1"))
    ],
    *[
        ("@websockets.route('/ws')", CLASS.replace("ATTRIBUTE", f"decorators = [{names}]"))
        for names in ("login_required", "bare", "returning", "Guard", "returning, Guard")
    ],
    (
        "part = flask.Blueprint('part', 'part')\n@websockets.route('/ws', part, decorators=[bare])",
        ASYNC,
    ),
]


@pytest.mark.parametrize(("lines", "handler"), PROTECTED)
def test_what_is_protected(application, run, lines, handler):
    module = run(lines, handler)
    if hasattr(module, "part"):
        application.app.register_blueprint(module.part)
    server = application.serve()
    assert answer(server, "/ws") == 401
    assert answer(server, "/ws?user=me") == "in"
    assert answer(server, "/ws") == 401


REFUSED_AT_DECORATION = [
    (f"{ROUTE}\n@login_required", ASYNC, r'"/ws", decorators=\[(login_required|…)\]'),
    (f"{ROUTE}\n@bare\n@login_required", ASYNC, None),  # the outermost hides that it is async
    (f"{ROUTE}\n@functools.lru_cache\n@login_required", ASYNC, r"decorators=\[(login_|…)"),
    (f"{ROUTE}\n@login_required", CLASS, r"write in the class: decorators = \[(login_required|…)\]"),
    (f"{ROUTE}\n@bare", CLASS, r"write in the class: decorators = \[(bare|…)\]"),
    (f"{ROUTE}\n@Guard", CLASS, r"write in the class: decorators = \[Guard\]"),
    (f"{ROUTE}\n@functools.partial", CLASS, "decorates the class handler itself, and no partial"),
]


@pytest.mark.parametrize(("lines", "handler", "text"), REFUSED_AT_DECORATION)
def test_a_wrapper_that_hides_the_kind_of_its_handler(application, run, lines, handler, text):
    handler = handler.replace("ATTRIBUTE", "x = 1")
    if text is not None:
        with pytest.raises(TypeError, match=text):
            run(lines, handler)
        return
    run(lines, handler)
    # What comes after the login depends on what Flask finds installed for coroutines.
    assert answer(application.serve(), "/ws") == 401


@pytest.mark.parametrize(
    "decorator", ["login_required", "bare", "returning", "Guard", "bound", "bare\n@bare"]
)
@pytest.mark.parametrize("handler", [FUNCTION, ASYNC, CLASS.replace("ATTRIBUTE", "x = 1")])
def test_a_decorator_above_the_route_protects_nothing_so_nobody_comes_in(
    application, run, caplog, decorator, handler
):
    run(f"@{decorator}\n{ROUTE}", handler)
    server = application.serve()
    for _ in range(2):
        assert answer(server, "/ws") == 500
        assert answer(server, "/ws?user=me") == 500
    name = decorator.partition("\n")[0].replace("bound", "Guard")
    said = f"the decorator ({name}|…) stands above the @websockets.route() of handler"
    for record in caplog.records:
        assert re.search(said.replace("()", r"\(\)"), str(record.exc_info[1]))
    assert len(caplog.records) == 4


def test_a_decorator_between_two_routes_protects_the_upper_one(application, run):
    run("@websockets.route('/up', endpoint='up')\n@bare\n@websockets.route('/low')", FUNCTION)
    server = application.serve()
    assert [answer(server, path) for path in ("/up", "/up?user=me", "/low", "/low?user=me")] == [
        401,
        "in",
        500,
        500,
    ]


def test_what_may_stand_above_a_route(application, run):
    run(
        "def same(f): return f\n"
        f"@same\n@app.get('/page', endpoint='page')\n{ROUTE}\n@websockets.route('/also', endpoint='b')",
        "def handler(ws=None): return 'page' if ws is None else ws.send('in')",
    )
    run(
        "class Holder:\n    @staticmethod\n    @websockets.route('/held')",
        "    def handler(ws): ws.send('in')",
    )
    run("@websockets.route('/first', endpoint='first')\ndef handler(ws): ws.send('first')", "")
    run(  # a second function of the same name is no decorated first one
        "@websockets.route('/one', endpoint='one')\ndef handler(ws): ws.send('one')\n"
        "@websockets.route('/two', endpoint='two')",
        "def handler(ws): ws.send('two')",
    )
    run(
        "@websockets.route('/base')\nclass Room(WebSocketView):\n"
        "    def on_message(self, ws, data): ws.send(data)\n",
        "class Room(Room): pass",
    )
    server = application.serve()
    paths = ("/ws", "/also", "/held", "/first", "/one", "/two")
    assert [answer(server, path) for path in paths] == ["in", "in", "in", "first", "one", "two"]
    assert server.request("GET /page HTTP/1.1\nHost: x\n\n").endswith(b"page")
    client = server.connect("/base")
    client.send("x")
    assert client.recv() == "x"


def test_whatever_can_be_called_is_a_handler(application):
    class Thing:
        def method(self, ws):
            ws.send("method")

        async def coroutine(self, ws):
            await ws.send("coroutine")

        @staticmethod
        async def of_no_object(ws):
            await ws.send("static")

        async def __call__(self, ws, word="called"):
            await ws.send(word)

    thing = Thing()

    @functools.wraps(Thing.coroutine)
    async def wrapper(ws):
        await thing.coroutine(ws)

    handlers = {
        "method": thing.method,
        "coroutine": thing.coroutine,
        "static": Thing.__dict__["of_no_object"],
        "called": thing,
        "partial": functools.partial(thing, word="partial"),
    }
    for name, handler in handlers.items():
        endpoint = f"the {name}"
        application.route(f"/{name}", endpoint=endpoint)(handler)
        application.route(f"/{name}/again", endpoint=endpoint)(handler)
    application.route("/wrapper")(wrapper)
    application.route("/bound/again")(thing.method)  # another object, and equal: the same view
    application.route("/bound")(thing.method)
    rules = {rule.rule: rule.endpoint for rule in application.app.url_map.iter_rules()}
    assert (rules["/bound"], rules["/wrapper"]) == ("method", "coroutine")
    server = application.serve()
    for name in handlers:
        assert answer(server, f"/{name}") == answer(server, f"/{name}/again") == name
    assert answer(server, "/wrapper") == "coroutine"
    assert answer(server, "/bound") == answer(server, "/bound/again") == "method"


def test_the_names_of_objects_are_those_of_their_functions_or_classes(application):
    class Greeter:
        def __call__(self, ws):
            pass

    application.route("/object")(Greeter())
    application.route("/partial")(functools.partial(answer, path="/ws"))
    rules = {rule.rule: rule.endpoint for rule in application.app.url_map.iter_rules()}
    assert rules["/object"] == "Greeter"
    assert rules["/partial"] == "answer"


def test_a_coroutine_or_a_generator_that_an_ordinary_function_returns(application, caplog):
    """Nobody would run it. The handler has run until there, so it may have accepted."""

    async def echo(ws):
        pass

    def pieces(ws):
        yield

    @application.route("/before")
    def before(ws):
        return echo(ws)

    @application.route("/after")
    def after(ws):
        ws.send("x")
        return echo(ws)

    @application.route("/generator")
    @functools.wraps(pieces)
    def generator(ws):
        return pieces(ws)

    server = application.serve()
    assert answer(server, "/before") == 500
    client = server.connect("/after")
    assert client.recv() == "x" and client.recv_data()[1][:2] == (1011).to_bytes(2, "big")
    assert answer(server, "/generator") == 500
    said = [str(r.exc_info[1]) for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(said) == 3
    assert "before() is an ordinary function, and has returned a coroutine" in said[0]
    assert "after() is" in said[1]
    assert "pieces() has returned a generator, which nobody runs" in said[2]


def ignores_its_function(function):
    return None


class View(WebSocketView):
    def on_message(self, ws, data):
        pass


class Thing:
    def method(self, ws):
        pass


def yields(ws):
    yield


@functools.wraps(yields)
def consumes(ws):
    for data in yields(ws):
        ws.send(data)


async def yields_too(ws):
    yield


class Yields(View):
    def on_open(self, ws):
        yield


class YieldsToo(View):
    async def on_close(self, ws, code, reason):
        yield


class Hides(View):
    @functools.wraps(asyncio.sleep)
    def on_open(self, ws):
        return asyncio.sleep(0)


class Word(View):
    decorators = "login_required"


class Single(View):
    decorators = ignores_its_function


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (yields, r"yields\(\) contains yield, so that calling it runs nothing"),
        (functools.partial(yields, 1), r"yields\(\) contains yield"),
        (yields_too, r"yields_too\(\) is an async generator"),
        (lambda: None, r"<lambda>\(\) takes no argument"),
        (Thing.method, r"method\(\) is a method, and route\(\) has no object"),
        (Thing.__dict__, "decorates a function, not mappingproxy"),
        (functools.partial(View), "decorates the class View itself, and no partial of it"),
        (Yields, r"Yields.on_open\(\) contains yield"),
        (YieldsToo, r"YieldsToo.on_close\(\) is async"),
        (Hides, r"Hides.on_open\(\) is async"),
        (Word, r"Word.decorators is a list of decorators, such as \[login_required\], not 'log"),
        (Single, "Single.decorators is a list of decorators"),
    ],
)
def test_handlers_that_could_not_work(application, handler, text):
    with pytest.raises(TypeError, match=text):
        application.route("/ws")(handler)
    assert not any(rule.websocket for rule in application.app.url_map.iter_rules())


def test_a_function_that_only_knows_a_class_view_is_a_handler(application):
    class Local(View):
        count = 7

    @application.route("/ws")
    def handler(ws):
        ws.send(str(Local.count))

    assert answer(application.serve(), "/ws") == "7"


def test_a_wrapper_that_consumes_what_its_function_yields(application):
    application.route("/ws")(consumes)


def test_arguments_of_route_that_are_none(application):
    def handler(ws):
        pass

    route = application.route
    for call, error, text in (
        (lambda: route(handler), TypeError, r'not function: @websockets.route\("/echo"\)'),
        (lambda: route("/ws", "part"), TypeError, "takes a Blueprint as bp, not str"),
        (lambda: route("/ws", decorators=ignores_its_function), TypeError, "is a list of decorators"),
        (lambda: route("/ws", decorators=[1]), TypeError, r"not \[1\]"),
        (lambda: route("/ws", websocket=False), ValueError, r"made with app.route\(\)"),
        (
            lambda: route("/ws", decorators=[ignores_its_function])(handler),
            TypeError,
            "the decorator ignores_its_function of handler has returned None",
        ),
    ):
        with pytest.raises(error, match=text):
            call()


def test_decorators_run_in_the_request_and_before_the_handshake_is_judged(application):
    calls = []

    def outer(view):
        @functools.wraps(view)
        def decorated(**values):
            calls.append(("outer", values, flask.request.path))
            return view(**values)

        return decorated

    def inner(view):
        def decorated(**values):
            calls.append(("inner", values, flask.request.path))
            return view(**values)

        return decorated

    @application.route("/room/<name>", decorators=[inner, outer])
    class Room(WebSocketView):
        decorators = [lambda view: view]  # noqa: RUF012

        def on_open(self, ws, name):
            calls.append(("on_open", name, flask.request.path))

        def on_message(self, ws, data):
            pass

    server = application.serve()
    server.connect("/room/kitchen")
    path, values = "/room/kitchen", {"name": "kitchen"}
    assert calls == [("outer", values, path), ("inner", values, path), ("on_open", "kitchen", path)]
