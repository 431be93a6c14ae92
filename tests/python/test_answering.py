"""What happens while a handshake is being answered: the application's functions run then, and may take
their time, fail, or be interrupted."""

from __future__ import annotations

import ctypes
import inspect
import re
import socket
import struct
import threading
import time

import flask
import pytest
import websocket
import wire
from conftest import wait_for
from flask.sessions import SecureCookieSessionInterface
from test_handshake import handshake, split
from test_views import KINDS, add_view, ask, ended

from flask_websockets import WebSocketView, records


def runtime(application):
    return application.app.extensions["flask_websockets.runtime"]


@pytest.fixture
def slow(application):
    """An after_request function that waits for ``release`` while a handshake is answered with 101."""
    application.inside, application.release = threading.Event(), threading.Event()

    @application.app.after_request
    def after(response):
        if response.status_code == 101:
            application.inside.set()
            application.release.wait(10)
        return response

    yield application
    application.release.set()


def in_a_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()

    def result():
        thread.join(10)
        return results[0]

    return result


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_stops_while_after_request_runs(slow, kind, caplog):
    slow.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 5
    add_view(slow, kind, lambda ws, data: data)
    server = slow.serve()
    answer = in_a_thread(lambda: split(server.request(handshake())))
    slow.inside.wait(10)
    stopped = in_a_thread(runtime(slow).shut_down)
    wait_for(lambda: runtime(slow).shutting_down)
    slow.release.set()
    assert answer()[0] == 503
    stopped()
    ended(slow)
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_the_peer_vanishes_while_after_request_runs(slow, kind, caplog):
    add_view(slow, kind, lambda ws, data: data)
    server = slow.serve()
    peer = socket.create_connection(("127.0.0.1", server.port))
    peer.sendall(handshake().replace("\n", "\r\n").encode())
    slow.inside.wait(10)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    slow.release.set()
    ended(slow)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("kind", ["function"])
def test_the_time_is_over_while_after_request_runs(slow, kind, caplog, monkeypatch):
    """The client is not kept waiting for it, and the handler, which is, ends without an error. (Of
    other kinds of view the server's thread runs it, as that of a page.)"""
    monkeypatch.setattr(records, "seldom", records.Seldom())  # nothing was said of it lately
    slow.app.config["WEBSOCKETS_HANDSHAKE_TIMEOUT"] = 0.2
    add_view(slow, kind, lambda ws, data: data)
    status, _, text = split(slow.serve().request(handshake()))
    assert status == 503 and "took too long" in text
    assert not slow.release.is_set()
    slow.release.set()
    ended(slow)
    assert [record.getMessage() for record in caplog.records] == [
        "a WebSocket handshake of /ws was not decided within WEBSOCKETS_HANDSHAKE_TIMEOUT"
    ]


class Killed(BaseException):
    """What another thread throws in."""


@pytest.mark.parametrize("kind", KINDS)
def test_who_answers_is_killed_while_after_request_runs(application, kind, caplog):
    """Another thread, which waits for that, answers then."""
    counts, errors, answering, inside = [], [], [], threading.Event()

    @application.app.after_request
    def after(response):
        counts.append(response.status_code)
        if len(counts) == 1:
            answering.append(threading.get_ident())  # for an async view, the server's thread
            inside.set()
            while True:
                time.sleep(0.01)
        return response

    def beside(ws):
        try:
            ws.accept()
        except Killed as error:
            errors.append(error)

    def opening(ws):
        thread = threading.Thread(target=beside, args=(ws,))
        thread.start()
        inside.wait(10)
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        arguments = ctypes.c_ulong(answering[0]), ctypes.py_object(Killed)
        threading.Timer(0.1, throw, arguments).start()

    add_view(application, kind, lambda ws, data: data, opening)
    client = application.serve().connect("/ws")
    assert ask(client, "x") == "x"
    assert len(errors) == 1 and counts == [101, 101]
    client.close()
    ended(application)
    # The event loop's thread may be said to have been blocked, as it was.
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["open_session", "save_session"])
def test_a_store_of_sessions_that_fails(application, kind, where, caplog):
    """The client and the log are told what they are told for a page."""
    app = application.app
    app.secret_key = "secret"

    def fail(*arguments):
        raise OSError("no store")

    app.session_interface = SecureCookieSessionInterface()
    setattr(app.session_interface, where, fail)
    app.add_url_rule("/page", view_func=lambda: "page")
    add_view(application, kind, lambda ws, data: data)
    server = application.serve()
    said = []
    for path in ("/page", "/ws"):
        caplog.clear()
        request = handshake().replace("GET /ws", f"GET {path}")
        if path == "/page":
            request = "GET /page HTTP/1.1\nHost: localhost\nConnection: close\n\n"
        status = split(server.request(request))[0]
        said.append((status, caplog.text.count("OSError: no store")))
    assert said[0] == said[1] and said[0][0] == 500
    ended(application)


def test_messages_and_a_close_come_while_on_open_takes_its_time(application, caplog):
    events = []

    @application.route("/ws")
    class View(WebSocketView):
        def on_open(self, ws):
            ws.accept()
            time.sleep(0.2)
            flask.g.opened = True
            events.append("open")

        def on_message(self, ws, data):
            events.append((data, "opened" in flask.g))

        def on_close(self, ws, code, reason):
            events.append(code)

    frames = b"".join(wire.frame(1, b"%d" % number) for number in range(5))
    port = application.serve().port
    with wire.connect_with(port, "/ws", frames + wire.frame(8, b"\x03\xe8")):
        ended(application)
    assert events == ["open", *((f"{number}", False) for number in range(5)), 1000]
    assert not caplog.records


# ---- the server's thread accepts, as the handler has waited for long enough ----


@pytest.fixture
def delayed(application):
    """Adds a view that does not use its websocket before ``release`` is set."""
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 0.05
    application.release = threading.Event()
    application.errors = []

    def add(kind):
        if kind == "function":

            @application.route("/ws")
            def handler(ws):
                application.release.wait(10)
                try:
                    ws.send("late")
                except BaseException as error:
                    application.errors.append(type(error).__name__)
                    raise

        else:

            @application.route("/ws")
            async def handler(ws):
                import asyncio

                while not application.release.is_set():
                    await asyncio.sleep(0.01)
                try:
                    await ws.send("late")
                except BaseException as error:
                    application.errors.append(type(error).__name__)
                    raise

    application.add = add
    yield application
    application.release.set()


@pytest.mark.parametrize("kind", ["function", "async"])
def test_an_after_request_function_refuses_what_the_server_accepts(delayed, kind, caplog):
    """As it does when the handler accepts."""

    @delayed.app.after_request
    def after(response):
        return flask.Response("not today", 418) if response.status_code == 101 else response

    delayed.add(kind)
    status, _, text = split(delayed.serve().request(handshake()))
    assert (status, text) == (418, "not today")
    delayed.release.set()
    ended(delayed)
    wait_for(lambda: delayed.errors)
    assert not caplog.records


@pytest.mark.parametrize("kind", ["function", "async"])
@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_an_after_request_function_fails_in_the_server_s_thread(delayed, kind, error, caplog):
    """That is an error of the application's, which is answered and reported as one."""
    signalled = []

    def receiver(sender, exception, **_):
        signalled.append(type(exception))

    flask.got_request_exception.connect(receiver, delayed.app)

    @delayed.app.after_request
    def after(response):
        if response.status_code == 101:
            raise error("on purpose")
        return response

    @delayed.app.errorhandler(500)
    def page(failure):
        return "our own page", 500

    delayed.add(kind)
    status, _, text = split(delayed.serve().request(handshake()))
    assert status == 500
    if error is LookupError:
        assert text == "our own page"
    delayed.release.set()
    ended(delayed)
    assert signalled == [error]
    assert [record.exc_info[0] for record in caplog.records] == [error]


def streams_from_another_context():
    """Can what a coroutine has begun be read by the server's thread? Not when this Flask enters the
    context already when it is begun."""
    source = inspect.getsource(flask.stream_with_context)
    return not re.search(r"with \w*ctx:(\s*#.*)*\s+yield None", source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_may_be_streamed(application, kind):
    """In the request's context, and what was begun in it."""
    if kind == "async" and not streams_from_another_context():
        pytest.skip("this Flask has no stream_with_context() for coroutines, which came with 3.1.2")
    application.app.before_request(lambda: setattr(flask.g, "user", "ann"))

    def opening(ws):
        def parts():
            yield f"{flask.request.path} "
            yield flask.g.user

        return flask.Response(flask.stream_with_context(parts()), 409)

    add_view(application, kind, lambda ws, data: data, opening)
    status, _, text = split(application.serve().request(handshake()))
    assert (status, text) == (409, "4\r\n/ws \r\n3\r\nann\r\n0\r\n\r\n")  # in chunks


@pytest.mark.parametrize("kind", KINDS)
def test_an_after_request_function_may_refuse_with_a_stream(application, kind):
    """Whose context is left again, so that the teardown functions run."""
    count = []

    @application.app.after_request
    def after(response):
        parts = flask.stream_with_context(part for part in ("not ", "today"))
        return flask.Response(parts, 503) if response.status_code == 101 else response

    @application.app.teardown_request
    def teardown(error):
        count.append(error)

    add_view(application, kind, lambda ws, data: data)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        application.serve().connect("/ws")
    assert refused.value.status_code == 503
    wait_for(lambda: count)


@pytest.mark.parametrize("kind", KINDS)
def test_teardown_functions_are_given_what_ends_a_handler_before_the_answer(application, kind, caplog):
    """Flask answers a SystemExit with 500 for us, and would tell them that all is well."""
    errors = []

    @application.app.teardown_request
    def teardown(error):
        errors.append(type(error).__name__)

    def opening(ws):
        raise SystemExit(1)

    add_view(application, kind, lambda ws, data: data, opening)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        application.serve().connect("/ws")
    assert refused.value.status_code == 500
    wait_for(lambda: errors == ["SystemExit"])
    assert len([record for record in caplog.records if record.exc_info]) == 1
