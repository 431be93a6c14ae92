"""Flask's own tools around contexts, within the handlers of all kinds of view."""

from __future__ import annotations

import contextvars
import threading

import flask
import pytest
from conftest import Application, wait_for
from flask import g, request, session
from test_views import KINDS, add_view, ask, ended

from flask_websockets import WebSocketView
from flask_websockets.context import MERGED


@pytest.fixture
def torn(application):
    """What the teardown functions have been called for: the request's by its path, an application
    context's by its ``g.name``."""
    application.app.secret_key = "secret"
    calls = []

    @application.app.teardown_request
    def request_teardown(error):
        calls.append(request.path)

    @application.app.teardown_appcontext
    def context_teardown(error):
        if (name := g.pop("name", None)) is not None:
            calls.append(name)

    @application.app.get("/page")
    def page():
        g.name = "of the page"
        return request.path

    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_an_application_context_within_a_handler(application, kind, torn, caplog):
    app = application.app

    def work(ws, data):
        g.name = "outer"
        with app.app_context():
            assert "name" not in g
            g.name = "inner"
        assert g.name == "outer" and request.path == "/ws"
        return data

    add_view(application, kind, work)
    client = application.serve().connect("/ws")
    assert [ask(client, "x") for _ in range(2)] == ["x", "x"]
    client.close()
    ended(application)
    expected = {
        "function": ["inner", "inner", "/ws", "outer"],
        "class": ["/ws", "inner", "outer", "inner", "outer"],
        "async": ["/ws", "inner", "inner", "outer"],
    }
    # The request of an async view ends in the server's thread, at any time after the 101.
    order = sorted if kind == "async" else list
    wait_for(lambda: order(torn) == order(expected[kind]), what=lambda: torn)
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_another_request_within_a_handler(application, kind, torn, caplog):
    app = application.app

    def work(ws, data):
        with app.test_request_context("/page?x=1"):
            assert request.args["x"] == "1"
        assert request.path == "/ws"
        answer = app.test_client().get("/page").text
        assert request.path == "/ws" and flask.current_app.name == app.name
        return answer

    add_view(application, kind, work)
    client = application.serve().connect("/ws")
    assert [ask(client) for _ in range(2)] == ["/page", "/page"]
    client.close()
    ended(application)
    wait_for(lambda: torn.count("/ws") == 1)
    assert torn.count("/page") == 4 and not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_keeps_the_context(application, kind, torn, caplog):
    """Its end is not the request's, which has been, or will be."""

    def work(ws, data):
        @flask.stream_with_context
        def generate():
            for number in range(3):
                yield f"{request.path}{number}"

        return "".join(generate())

    add_view(application, kind, work)
    client = application.serve().connect("/ws")
    assert [ask(client) for _ in range(2)] == ["/ws0/ws1/ws2"] * 2
    client.close()
    ended(application)
    wait_for(lambda: torn)
    assert torn == ["/ws"] and not caplog.records


@pytest.mark.parametrize("torn_down", [True, False])
@pytest.mark.parametrize("kind", ["function", "class"])
def test_a_thread_with_a_copy_of_the_context(application, kind, torn_down, caplog):
    application.app.secret_key = "secret"
    seen = []
    if torn_down:
        application.app.teardown_appcontext(lambda error: None)

    def work(ws, data):
        g.name = data

        @flask.copy_current_request_context
        def beside():
            seen.append((request.args["a"], session["user"], flask.current_app.name, g.get("name")))
            ws.send(f"from a thread, {data}")

        threading.Thread(target=beside).start()
        return data

    add_view(application, kind, work, lambda ws: session.update(user="ann"))
    client = application.serve().connect("/ws?a=1")
    for number in range(3):
        client.send(f"{number}")
        assert sorted([client.recv(), client.recv()]) == [f"{number}", f"from a thread, {number}"]
    client.close()
    ended(application)
    assert seen == [("1", "ann", "tested", None)] * 3
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_templates_and_urls(application, kind, torn, caplog):
    def work(ws, data):
        text = "{{ request.path }} {{ session.user }} {{ g.name }} "
        text += "{{ url_for('page', _external=True) }}"
        g.name = data
        return flask.render_template_string(text)

    add_view(application, kind, work, lambda ws: session.update(user="ann"))
    server = application.serve()
    client = server.connect("/ws")
    for name in ("one", "two"):
        assert ask(client, name) == f"/ws ann {name} http://127.0.0.1:{server.port}/page"
    client.close()
    ended(application)
    assert not caplog.records


def test_what_a_thread_leaves_in_g_is_not_in_the_next_call(application, caplog):
    """One that a call of a method has left behind, with a copy of its context variables."""
    torn, go_on, threads = [], threading.Event(), []
    application.app.teardown_appcontext(lambda error: torn.append(g.pop("name", None)))

    def beside():
        go_on.wait(10)
        g.name = "of the thread"

    def work(ws, data):
        before, g.name = g.get("name"), data
        if not threads:
            context = contextvars.copy_context()
            threads.append(threading.Thread(target=context.run, args=(beside,)))
            threads[0].start()
        return before

    add_view(application, "class", work)
    client = application.serve().connect("/ws")
    assert ask(client, "one") == "None"
    go_on.set()
    threads[0].join()
    assert ask(client, "two") == "None"
    client.close()
    ended(application)
    assert torn == [None, "one", "two", None] and not caplog.records


@pytest.mark.parametrize("torn_down", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_g_holds_publishes_when_it_is_freed(application, kind, torn_down, caplog):
    if torn_down:
        application.app.teardown_appcontext(lambda error: None)
    counts = []

    class Noisy:
        def __del__(self):
            counts.append(application.websockets.publish("gone", "room"))

    @application.route("/room")
    class Room(WebSocketView):
        def on_open(self, ws):
            application.websockets.subscribe(ws, "room")

        def on_message(self, ws, data):
            pass

    def work(ws, data):
        g.noisy = Noisy()
        return data

    add_view(application, kind, work)
    server = application.serve()
    room, client = server.connect("/room"), server.connect("/ws")
    assert [ask(client, "x") for _ in range(3)] == ["x"] * 3
    client.close()
    assert [room.recv() for _ in range(3)] == ["gone"] * 3
    assert counts == [1] * 3 and not caplog.records


# ---- applications that override what Flask calls ----


class Globals(flask.ctx._AppCtxGlobals):
    """A g that has something to begin with."""

    def __init__(self):
        self.made = True


class Overriding(flask.Flask):
    app_ctx_globals_class = Globals

    def __init__(self, name):
        super().__init__(name)
        self.processed, self.torn_down = [], []

    if MERGED:

        def process_response(self, ctx, response):
            return self.note_response(super().process_response(ctx, response))

        def do_teardown_appcontext(self, ctx, exc=None):
            self.torn_down.append(g.get("name"))
            super().do_teardown_appcontext(ctx, exc)

    else:

        def process_response(self, response):
            return self.note_response(super().process_response(response))

        def do_teardown_appcontext(self, *exc):
            self.torn_down.append(g.get("name"))
            super().do_teardown_appcontext(*exc)

    def note_response(self, response):
        self.processed.append(response.status_code)
        response.headers["X-Processed"] = "yes"
        return response


@pytest.mark.parametrize("kind", KINDS)
def test_an_application_of_a_class_of_its_own(kind):
    application = Application(Overriding("tested"))
    app = application.app

    def work(ws, data):
        before, g.name = g.get("name"), data
        return f"{g.made} {before}"

    add_view(application, kind, work)
    try:
        client = application.serve().connect("/ws")
        assert client.getheaders()["x-processed"] == "yes"
        first, second = ask(client, "one"), ask(client, "two")
        assert (first, second) == ("True None", "True None" if kind == "class" else "True one")
        client.close()
        ended(application)
        assert app.processed == [101]
        torn = {"function": ["two"], "class": [None, "one", "two", None], "async": [None, "two"]}
        order = (lambda names: sorted(names, key=str)) if kind == "async" else list
        wait_for(lambda: order(app.torn_down) == order(torn[kind]), what=lambda: app.torn_down)
    finally:
        application.server.stop()


# ---- what comes too late ----


@pytest.mark.parametrize("kind", KINDS)
def test_after_this_request_that_comes_too_late_is_said(application, kind, caplog):
    ran = []

    def opening(ws):
        flask.after_this_request(lambda response: ran.append(response.status_code) or response)

    def work(ws, data):
        flask.after_this_request(lambda response: ran.append("late") or response)
        return data

    add_view(application, kind, work, opening)
    client = application.serve().connect("/ws")
    assert [ask(client, "x") for _ in range(2)] == ["x", "x"]
    client.close()
    ended(application)
    wait_for(lambda: "after_this_request() was called in the WebSocket /ws after" in caplog.text)
    assert ran == [101] and len(caplog.records) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_to_be_called_when_the_answer_is_sent(application, kind, fails, caplog):
    calls = []

    @application.app.after_request
    def after(response):
        def sent():
            calls.append((response.status_code, request.path, len(application.websockets.connections)))
            if fails:
                raise LookupError("when it was sent")

        response.call_on_close(sent)
        return response

    add_view(application, kind, lambda ws, data: data)
    client = application.serve().connect("/ws")
    assert ask(client, "x") == "x"
    client.close()
    ended(application)
    assert calls == [(101, "/ws", 1)]
    assert [record.exc_info[0] for record in caplog.records] == ([LookupError] if fails else [])
