"""Three kinds of view, one behaviour: the table of docs/views.md, each row for each kind."""

from __future__ import annotations

import builtins
import contextvars
import sqlite3
import sys
import threading
import time

import flask
import pytest
import websocket
from conftest import wait_for

from flask_websockets import ConnectionClosed, WebSocketView

KINDS = ("function", "class", "async")


def add_view(application, kind, work, opening=None, path="/ws"):
    """A view that answers each message with what ``work(ws, data)`` returns.

    :param kind: one of KINDS; or "class, app": a class that gives its request up.
    :param opening: ``opening(ws)``, called before the handshake is answered; what it returns but None
        refuses it.
    """
    opening = opening or (lambda ws: None)
    if kind == "function":

        def handler(ws):
            if (answer := opening(ws)) is not None:
                return answer
            for data in ws.iter_data():
                ws.send(str(work(ws, data)))

    elif kind == "async":

        async def handler(ws):
            if (answer := opening(ws)) is not None:
                return answer
            async for data in ws:
                await ws.send(str(work(ws, data)))

    else:

        class handler(WebSocketView):
            context = "app" if kind == "class, app" else "request"

            def on_open(self, ws):
                return opening(ws)

            def on_message(self, ws, data):
                ws.send(str(work(ws, data)))

    handler.__name__ = kind
    application.route(path, endpoint=path)(handler)


def ask(client, text="?"):
    client.send(text)
    return client.recv()


def code_of(client):
    opcode, data = client.recv_data()
    assert opcode == 8
    return int.from_bytes(data[:2], "big")


def ended(application):
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._handlers)


# ---- context variables ----


@pytest.mark.parametrize("kind", KINDS)
def test_context_variables_are_those_of_the_call_and_leak_nowhere(application, kind):
    bound = contextvars.ContextVar("bound", default="nothing")
    mine = contextvars.ContextVar("mine", default="nothing")

    def work(ws, data):
        before = mine.get()
        mine.set(data)
        return f"{bound.get()} {before}"

    def opening(ws):
        mine.set("opened")

    add_view(application, kind, work, opening)
    app = application.app
    inner = app.wsgi_app

    def binding(environ, start_response):
        token = bound.set(environ["HTTP_X_ID"])
        try:
            return inner(environ, start_response)
        finally:
            bound.reset(token)

    app.wsgi_app = binding
    server = application.serve()
    for name in ("one", "two", "three"):  # on a thread that the one before has left, if there is one
        client = server.connect("/ws", header=[f"X-Id: {name}"])
        assert ask(client, f"first of {name}") == f"{name} opened"
        assert ask(client, "second") == f"{name} first of {name}"
        client.close()
        ended(application)


# ---- the session, and after_request ----


def add_session(application, counts):
    app = application.app
    app.secret_key = "secret"

    @app.before_request
    def before():
        flask.session["seen"] = flask.request.args.get("name")

    @app.after_request
    def after(response):
        counts.append(response.status_code)
        response.headers["X-After"] = str(len(counts))
        response.headers["Connection"] = "close"  # which the 101 has its own of
        return response

    @app.get("/page")
    def page():
        return str(dict(flask.session))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["used", "returned", "delayed"])
def test_session_and_after_request_go_with_the_101(application, kind, when, caplog):
    counts = []
    add_session(application, counts)
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 0.05
    release = threading.Event()

    def opening(ws):
        flask.session["opened"] = True
        if when == "used":
            ws.accept(headers={"X-Mine": "mine"})
        elif when == "delayed" and kind == "function":  # the server's thread accepts
            release.wait(10)

    add_view(application, kind, lambda ws, data: sorted(flask.session), opening)
    client = application.serve().connect("/ws?name=ann")
    release.set()
    headers = client.getheaders()
    assert headers["x-after"] == "1" and headers["connection"] == "Upgrade"
    assert headers.get("x-mine") == ("mine" if when == "used" else None)
    assert "content-type" not in headers and "content-length" not in headers
    cookie = headers["set-cookie"].split(";")[0]
    assert ask(client) == "['opened', 'seen']"
    client.close()
    ended(application)
    assert counts == [101]  # and not again at the end
    # What the cookie of the 101 holds.
    serializer = application.app.session_interface.get_signing_serializer(application.app)
    assert serializer.loads(cookie.partition("=")[2]) == {"seen": "ann", "opened": True}
    assert "session" not in caplog.text.lower()


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_that_changes_too_late_is_not_saved_in_silence(application, kind, caplog):
    counts = []
    add_session(application, counts)
    saved = []
    interface = application.app.session_interface
    save = interface.save_session
    interface.save_session = lambda *arguments: saved.append(1) or save(*arguments)

    def work(ws, data):
        flask.session["late"] = data

    add_view(application, kind, work)
    server = application.serve()
    client = server.connect("/ws")
    ask(client)
    client.close()
    ended(application)
    wait_for(lambda: "The session was changed in the WebSocket /ws after" in caplog.text)
    assert caplog.text.count("The session was changed") == 1
    assert saved == [1] and counts == [101]


@pytest.mark.parametrize("kind", KINDS)
def test_an_after_request_function_may_refuse(application, kind):
    @application.app.after_request
    def after(response):
        return flask.Response("not today", 503) if response.status_code == 101 else response

    add_view(application, kind, lambda ws, data: data)
    server = application.serve()
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        server.connect("/ws")
    assert refused.value.status_code == 503 and refused.value.resp_body == b"not today"
    ended(application)


@pytest.mark.parametrize("kind", KINDS)
def test_an_after_request_function_that_fails_is_a_500(application, kind, caplog):
    @application.app.after_request
    def after(response):
        if response.status_code == 101:
            raise LookupError("in after_request")
        return response

    add_view(application, kind, lambda ws, data: data)
    server = application.serve()
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        server.connect("/ws")
    assert refused.value.status_code == 500
    assert caplog.text.count("LookupError: in after_request") == 1
    ended(application)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_accept_at_once_are_answered_once(application, kind):
    """While after_request takes its time, another thread uses the websocket, and waits for the 101."""
    counts, sent, threads = [], [], []
    inside = threading.Event()

    @application.app.after_request
    def after(response):
        counts.append(response.status_code)
        inside.set()
        time.sleep(0.2)
        return response

    def beside(ws):
        inside.wait(10)
        try:
            ws.accept()
        except RuntimeError as error:
            sent.append(str(error))

    def opening(ws):
        threads.append(threading.Thread(target=beside, args=(ws,)))
        threads[0].start()
        ws.accept()

    add_view(application, kind, lambda ws, data: data, opening)
    client = application.serve().connect("/ws")
    assert ask(client, "x") == "x"
    threads[0].join()
    assert counts == [101] and sent == ["the handshake is answered already"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_after_request_function_that_uses_the_websocket_is_told(application, kind, caplog):
    sockets = []

    @application.app.after_request
    def after(response):
        if response.status_code == 101:
            sockets[0].accept()
        return response

    add_view(application, kind, lambda ws, data: data, sockets.append)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        application.serve().connect("/ws")
    assert refused.value.status_code == 500
    assert "is being answered by the code that was interrupted, or has called this" in caplog.text


# ---- before_request to teardown ----


@pytest.mark.parametrize("kind", KINDS)
def test_thread_bound_objects_in_g(application, kind):
    """The tutorial's sqlite: opened in before_request and in the handler, closed by a teardown function
    in the thread that has opened it, and idle websockets hold none."""
    opened, closed = [], []

    def connection():
        if "db" not in flask.g:
            flask.g.db = sqlite3.connect(":memory:")
            opened.append(flask.g.db)
        return flask.g.db

    @application.app.before_request
    def before():
        connection().execute("select 1")

    @application.app.teardown_appcontext
    def close(error):
        db = flask.g.pop("db", None)
        if db is not None:
            db.close()  # an error in another thread
            closed.append(db)

    add_view(application, kind, lambda ws, data: connection().execute("select 41 + 1").fetchone()[0])
    client = application.serve().connect("/ws")
    assert [ask(client) for _ in range(3)] == ["42"] * 3
    if kind == "class":
        wait_for(lambda: len(closed) == len(opened) == 4)
    client.close()
    ended(application)
    wait_for(lambda: opened and closed == opened)


@pytest.mark.parametrize("kind", KINDS)
def test_teardown_functions_are_given_what_the_handler_has_raised(application, kind):
    errors = []

    @application.app.teardown_appcontext
    def teardown(error):
        if flask.g.pop("worked", False):
            errors.append(error)

    def work(ws, data):
        flask.g.worked = True
        raise KeyError(data)

    add_view(application, kind, work)
    client = application.serve().connect("/ws")
    client.send("x")
    assert code_of(client) == 1011
    wait_for(lambda: errors)
    assert [repr(error) for error in errors] == ["KeyError('x')"]


# ---- exceptions ----


class Foreign(BaseException):
    """As gevent.Timeout is one."""


ERRORS = [SystemExit, KeyboardInterrupt, Foreign, RecursionError, MemoryError, GeneratorExit]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "not accepted"])
def test_no_exception_ends_more_than_its_websocket(application, kind, error, accepted, caplog):
    signalled = []
    flask.got_request_exception.connect(
        lambda sender, exception, **_: signalled.append(exception), application.app, weak=False
    )

    def fail(ws, data=None):
        raise error("on purpose")

    def fail_first(ws):
        if "fail" in flask.request.args:
            fail(ws)

    if accepted:
        add_view(application, kind, lambda ws, data: fail(ws) if data == "fail" else data)
    else:
        add_view(application, kind, lambda ws, data: data, fail_first)
    server = application.serve()
    other = server.connect("/ws")
    assert ask(other, "before") == "before"
    if accepted:
        client = server.connect("/ws")
        client.send("fail")
        assert code_of(client) == 1011
    else:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            server.connect("/ws?fail=1")
        assert refused.value.status_code == 500
    wait_for(lambda: signalled)
    assert ask(other, "after") == "after"
    assert ask(server.connect("/ws"), "new") == "new"
    logged = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in logged] == [error]
    assert [type(exception) for exception in signalled] == [error]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_of_nothing_but_connection_closed_is_silent(application, kind, caplog):
    done = []
    Group = builtins.BaseExceptionGroup

    def work(ws, data):
        wait_for(lambda: ws.closed)
        done.append(data)
        gone = Group("inner", [ConnectionClosed(1001)])
        other = [KeyError("a bug")] if data == "and a bug" else []
        raise Group("outer", [gone, ConnectionClosed(1006), *other])

    if kind == "async":

        @application.route("/ws")
        async def handler(ws):
            import asyncio

            async for data in ws:
                while not ws.closed:
                    await asyncio.sleep(0.01)
                work(ws, data)

    else:
        add_view(application, kind, work)
    server = application.serve()
    for text, count in (("silent", 0), ("and a bug", 1)):
        client = server.connect("/ws")
        client.send(text)
        time.sleep(0.05)
        client.shutdown()
        wait_for(lambda text=text: text in done)
        ended(application)
        assert len([record for record in caplog.records if record.exc_info]) == count
