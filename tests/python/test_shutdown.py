"""Handshakes that meet the end of the server: each is refused with 503, by whichever kind of view, and
starts nothing again."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time

import pytest
import wire
from conftest import wait_for
from test_handshake import split

from flask_websockets import ConnectionClosed, WebSocketView
from flask_websockets.handlers.threads import Condition
from flask_websockets.handshake.upgrade import Upgrade
from flask_websockets.servers import ServerSocket

GOODBYE = "The server is shutting down; try again later."


class Meeting:
    """A handler that stands in the middle of its handshake, until it may go on."""

    def __init__(self, application):
        application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 30
        application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.3
        self.runtime = application.app.extensions["flask_websockets.runtime"]
        self.arrived, self.may_go_on = threading.Event(), threading.Event()
        self.raised = []

    def stand(self):
        self.arrived.set()
        self.may_go_on.wait(10)

    def accept(self, ws):
        try:
            ws.accept()
        except BaseException as error:
            self.raised.append(error)
            raise

    def begin(self, server):
        """A client whose handler stands."""
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(wire.request(server.port, "/ws"))
        assert self.arrived.wait(10)
        return connection


@pytest.fixture(params=["function", "class", "async"])
def kind(request):
    return request.param


@pytest.fixture
def meeting(application, kind):
    meeting = Meeting(application)
    if kind == "function":

        @application.route("/ws")
        def ws_(ws):
            meeting.stand()
            meeting.accept(ws)
            ws.receive()

    elif kind == "class":

        @application.route("/ws")
        class Class(WebSocketView):
            def on_open(self, ws):
                meeting.stand()
                meeting.accept(ws)

            def on_message(self, ws, data):
                pass

    else:

        @application.route("/ws")
        async def ws_(ws):
            meeting.stand()
            meeting.accept(ws)
            await ws.receive()

    yield meeting
    meeting.may_go_on.set()


def read_answer(connection):
    answer = b""
    with connection:
        while more := connection.recv(65536):
            answer += more
    return split(answer)


def is_goodbye(answer):
    status, headers, text = answer
    return (status, headers["retry-after"], GOODBYE in text) == (503, "5", True)


def test_an_accept_after_the_end_is_refused(application, meeting, kind, caplog):
    connection = meeting.begin(application.serve())
    meeting.runtime.shut_down()
    meeting.may_go_on.set()
    assert is_goodbye(read_answer(connection))
    wait_for(lambda: meeting.raised)
    wait_for(lambda: not meeting.runtime._open and meeting.runtime._handlers == 0)
    assert application.websockets.stats()["connections"] == 0
    if kind == "class":  # its request is in the server's thread, so it is the handler that refuses
        assert GOODBYE in str(meeting.raised[0])
    else:
        assert isinstance(meeting.raised[0], ConnectionClosed)
        assert (meeting.raised[0].code, meeting.raised[0].reason) == (1001, "server shutting down")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# The handler of a class view is in the server's thread, which is not free to answer.
@pytest.mark.parametrize("kind", ["function", "async"], indirect=True)
def test_a_client_whose_handler_does_not_decide_is_told_when_the_end_begins(application, meeting, kind):
    connection = meeting.begin(application.serve())
    begun = time.monotonic()
    meeting.runtime.shut_down()
    assert is_goodbye(read_answer(connection))
    assert not meeting.raised and time.monotonic() - begun < 5


def test_a_handshake_after_the_end_is_refused(application, meeting):
    server = application.serve()
    meeting.may_go_on.set()
    with wire.connect(server.port, "/ws"):
        meeting.runtime.shut_down()
    meeting.arrived.clear()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(wire.request(server.port, "/ws"))
    assert is_goodbye(read_answer(connection))
    assert not meeting.arrived.is_set() and not meeting.runtime.started


def test_an_accept_at_the_moment_when_the_end_begins_is_closed_with_1001(
    application, meeting, monkeypatch
):
    def begin_to_end(*_):
        meeting.runtime.shutting_down = True  # as if shut_down() had looked for websockets before

    server = application.serve()
    meeting.may_go_on.set()
    monkeypatch.setattr(ServerSocket, "handed_over", begin_to_end)
    with wire.connect(server.port, "/ws") as connection:
        assert wire.read_close(connection) == (1001, "server shutting down")


def test_an_engine_that_has_stopped_refuses_with_503(application, meeting, monkeypatch):
    def stopped(*_):
        raise OSError(errno.ESHUTDOWN, "the engine has stopped")

    connection = meeting.begin(application.serve())
    monkeypatch.setattr(Upgrade, "_attach", stopped)
    meeting.may_go_on.set()
    assert is_goodbye(read_answer(connection))


def test_a_second_end_does_nothing(application, meeting):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 1
    connection = meeting.begin(application.serve())
    meeting.runtime.shut_down()
    begun = time.monotonic()
    meeting.runtime.shut_down()
    assert time.monotonic() - begun < 0.5
    connection.close()


@pytest.mark.parametrize("uses_it", [True, False])
def test_a_handler_that_ends_after_its_client_was_refused_is_silent(application, caplog, uses_it):
    application.app.config.update(WEBSOCKETS_ACCEPT_DELAY=30, WEBSOCKETS_HANDSHAKE_TIMEOUT=0.2)
    ended = threading.Event()
    seen = []

    @application.route("/ws")
    def ws_(ws):
        ended.wait(10)
        if uses_it:
            try:
                ws.send("too late")
            except ConnectionClosed as error:
                seen.append(error.code)
                raise

    server = application.serve()
    status, _, _ = split(server.request(wire.request(server.port, "/ws").decode().replace("\r", "")))
    assert status == 503
    ended.set()
    wait_for(lambda: application.app.extensions["flask_websockets.runtime"]._handlers == 0)
    assert seen == [1006] * uses_it
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("kind", ["class"], indirect=True)
def test_an_accept_while_the_server_ends_is_refused_too(application, meeting):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 5
    server = application.serve()
    connection = meeting.begin(server)  # counted as open, so that shut_down() waits for it
    ending = threading.Thread(target=meeting.runtime.shut_down)
    ending.start()
    wait_for(lambda: meeting.runtime.shutting_down)
    meeting.may_go_on.set()
    assert is_goodbye(read_answer(connection))
    ending.join()
    assert application.websockets.stats()["closes"] == {}  # nothing was ever attached


def test_a_handshake_is_decided_once():
    upgrade = Upgrade.__new__(Upgrade)  # without a server around it
    upgrade._changed, upgrade.accepted, upgrade._outcome = Condition(), False, None
    upgrade.decide("first")
    upgrade.decide("second")
    assert upgrade._outcome == "first"


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_the_end_of_a_websocket_whose_peer_is_silent_is_reported_to_its_view(application, caplog):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.3
    closed = []

    @application.route("/ws")
    class Class(WebSocketView):
        def on_message(self, ws, data):
            pass

        def on_close(self, ws, code, reason):
            closed.append(code)

    server = application.serve()
    with wire.connect(server.port, "/ws"):  # which never answers a close frame
        application.app.extensions["flask_websockets.runtime"].shut_down()
        assert closed == [1001]
    assert warnings(caplog) == []


@pytest.mark.parametrize("kind", ["function", "class"])
def test_what_has_not_ended_at_the_end_is_logged(application, caplog, kind):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.3
    may_end, started = threading.Event(), threading.Event()

    def stay(*_):
        started.set()
        may_end.wait(20)

    if kind == "function":
        application.route("/ws")(stay)
    else:

        @application.route("/ws")
        class Class(WebSocketView):
            def on_open(self, ws):
                started.set()

            def on_message(self, ws, data):
                pass

            def on_close(self, ws, code, reason):
                stay()

    server = application.serve()
    with wire.connect(server.port, "/ws"):  # which never answers a close frame
        assert started.wait(10)
        application.app.extensions["flask_websockets.runtime"].shut_down()
        may_end.set()
    left = {"function": "1 handlers and 1 websockets", "class": "0 handlers and 1 websockets"}[kind]
    assert [text for text in warnings(caplog) if text.startswith(f"shut down with {left} that")]
