"""Rows of the table of docs/views.md that no test elsewhere shows, each for all kinds of view."""

from __future__ import annotations

import contextlib
import contextvars
import pathlib
import threading

import flask
import pytest
from conftest import wait_for
from flask import g, request, session
from test_views import KINDS, add_view, ask, ended
from werkzeug.routing import BaseConverter

#: And a class that gives its request up after on_open.
CONTEXTS = [*KINDS, "class, app"]


def runtime(application):
    return application.app.extensions["flask_websockets.runtime"]


@pytest.fixture
def server_threads(application):
    """The threads of the server's calls of the application. What is in ``at_return`` is called when one
    returns."""
    calls = []
    application.at_return = []
    inner = application.app.wsgi_app

    def call(environ, start_response):
        calls.append(threading.current_thread())
        answer = inner(environ, start_response)
        for look in application.at_return:
            look()
        return answer

    application.app.wsgi_app = call
    return calls


def name_of_this_thread():
    """As the system shows it: those of the engine are none of Python's."""
    return pathlib.Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip()


# ---- runs in ----


@pytest.mark.parametrize("kind", KINDS)
def test_runs_in(application, kind, server_threads):
    opened, worked = [], []

    def opening(ws):
        opened.append(threading.current_thread())

    def work(ws, data):
        worked.append((threading.current_thread(), name_of_this_thread()))

    add_view(application, kind, work, opening)
    server = application.serve()
    clients = [server.connect("/ws") for _ in range(2)]
    for client in clients:
        ask(client)
        ask(client)
    threads, names = [thread for thread, _ in worked], {name for _, name in worked}
    if kind == "function":  # one for each websocket
        assert threads == [opened[0], opened[0], opened[1], opened[1]]
        assert len({*opened, *server_threads}) == 4
    elif kind == "class":
        assert opened == server_threads and names == {"fws-engine"}
    else:
        assert len({*opened, *threads}) == 1 and names == {"ws asyncio"}


@pytest.mark.parametrize("kind", KINDS)
def test_until_the_handshake_is_answered_the_request_waits_in_the_server_s_thread(
    application, kind, server_threads
):
    """And no longer: then that thread is free."""
    events, go_on = [], threading.Event()
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 60
    application.at_return.append(lambda: events.append("returned"))

    def opening(ws):
        go_on.wait(10)
        events.append("decided")
        ws.accept()
        if kind == "class":  # that thread is its own until on_open returns
            return
        wait_for(lambda: "returned" in events)

    add_view(application, kind, lambda ws, data: data, opening)
    threading.Timer(0.1, go_on.set).start()
    client = application.serve().connect("/ws")
    assert ask(client, "x") == "x"
    assert events == ["decided", "returned"]


@pytest.mark.parametrize("kind", KINDS)
def test_url_converters_and_before_request_run(application, kind, server_threads):
    app, threads, opened = application.app, [], []

    class Noted(BaseConverter):
        def to_python(self, value):
            threads.append(threading.current_thread())
            return value

    app.url_map.converters["noted"] = Noted
    app.before_request(lambda: threads.append(threading.current_thread()))
    # So that the handlers of add_view() need no parameter for it.
    app.url_value_preprocessor(lambda endpoint, values: values.clear())
    add_view(
        application,
        kind,
        lambda ws, data: data,
        lambda ws: opened.append(threading.current_thread()),
        path="/ws/<noted:value>",
    )
    client = application.serve().connect("/ws/x")
    assert [ask(client, "x") for _ in range(2)] == ["x", "x"]
    client.close()
    ended(application)
    assert threads == [opened[0] if kind == "function" else server_threads[0]] * 2
    assert (opened == server_threads) == (kind == "class")


# ---- contexts ----


@pytest.mark.parametrize("kind", CONTEXTS)
def test_context_variables_are_in_a_copy(application, kind, server_threads):
    """What the request's functions and the handler set is there in each call of the handler, and not in
    the server's thread, which serves others after it."""
    names = ("before", "opened", "worked")
    variables = {name: contextvars.ContextVar(name, default="-") for name in names}
    left = []

    def values():
        return " ".join(variable.get() for variable in variables.values())

    def work(ws, data):
        before = values()
        variables["worked"].set(data)
        return before

    application.at_return.append(lambda: left.append(values()))
    application.app.before_request(lambda: variables["before"].set("a") and None)
    add_view(application, kind, work, lambda ws: variables["opened"].set("b") and None)
    client = application.serve().connect("/ws")
    assert [ask(client, "c"), ask(client, "d")] == ["a b -", "a b c"]
    assert left == ["- - -"]


@pytest.mark.parametrize("kind", CONTEXTS)
def test_request_session_current_app(application, kind):
    application.app.secret_key = "secret"
    application.app.before_request(lambda: session.update(user="ann"))

    def seen():
        if not flask.has_request_context():
            with pytest.raises(RuntimeError):
                request.path  # noqa: B018
            with pytest.raises(RuntimeError):
                session.get("user")
            return flask.current_app.name
        return f"{request.args['a']} {session['user']} {flask.current_app.name}"

    opened = []
    add_view(application, kind, lambda ws, data: seen(), lambda ws: opened.append(seen()))
    client = application.serve().connect("/ws?a=1")
    expected = "tested" if kind == "class, app" else "1 ann tested"
    assert [ask(client), ask(client)] == [expected] * 2
    assert opened == ["1 ann tested"]


class Closable:
    def close(self):
        pass


@pytest.mark.parametrize("kind", CONTEXTS)
def test_g(application, kind):
    calls = []

    @application.app.before_request
    def before():
        g.user, g.database, g._private = "ann", Closable(), "an extension's"

    @application.app.teardown_appcontext
    def teardown(error):
        calls.append(("teardown", *sorted(g)))

    def opening(ws):
        calls.append(("open", *sorted(g)))
        g.opened = True

    def work(ws, data):
        calls.append((data, *sorted(g)))
        setattr(g, data, True)

    add_view(application, kind, work, opening)
    client = application.serve().connect("/ws")
    for data in ("x", "y"):
        ask(client, data)
    client.close()
    ended(application)
    kind = kind.partition(",")[0]
    handshake = ("_private", "database", "user")
    end = ("teardown", "_private", "database", "opened", "user")  # of the handshake
    expected = {
        "function": [
            ("open", *handshake),
            ("x", "_private", "database", "opened", "user"),
            ("y", "_private", "database", "opened", "user", "x"),
            (*end, "x", "y"),
        ],
        "class": [
            ("open", *handshake),
            end,
            *[("x",), ("teardown", "x"), ("y",), ("teardown", "y")],
            ("teardown",),  # after on_close
        ],
        "async": [
            ("open", "user"),
            ("teardown", *handshake),
            ("x", "opened", "user"),
            ("y", "opened", "user", "x"),
            ("teardown", "opened", "user", "x", "y"),
        ],
    }[kind]
    # The request of an async view ends in the server's thread, at any time after the 101.
    order = sorted if kind == "async" else list
    wait_for(lambda: order(calls) == order(expected), what=lambda: calls)


# ---- database connections ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["before_request", "handler", "app_context", "both, app_context"])
def test_database_connections_held_while_idle(application, kind, where):
    """As extensions do it: given to the first query, taken back in a teardown function."""
    app, held = application.app, []

    def query():
        if "connection" not in g:
            g.connection = Closable()
            held.append(g.connection)

    @app.teardown_appcontext
    def teardown(error):
        if (connection := g.pop("connection", None)) is not None:
            held.remove(connection)

    @app.before_request
    def before():
        if where.startswith("b"):
            query()

    def work(ws, data):
        if where == "before_request":
            return
        with app.app_context() if "app_context" in where else contextlib.nullcontext():
            query()
            assert held

    add_view(application, kind, work)
    client = application.serve().connect("/ws")
    for _ in range(2):
        ask(client)
        kept = {
            "function": {"app_context": 0},
            "class": dict.fromkeys((where,), 0),
            "async": {"handler": 1},
        }[kind].get(where, 1 if kind == "function" else 0)
        wait_for(lambda: len(held) == kept, what=lambda: held)  # noqa: B023
    client.close()
    ended(application)
    wait_for(lambda: not held)
