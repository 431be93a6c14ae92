"""What one peer may cost, as the application configures it. What the C tests show of each limit is not
repeated here; this is how they are reached from app.config, and what the peer is told."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import threading
import time
import weakref

import flask
import pytest
import wire
from conftest import wait_for
from werkzeug.exceptions import ServiceUnavailable

from flask_websockets import ConnectionClosed
from flask_websockets._core import Quota
from flask_websockets.addresses import limit_of
from flask_websockets.handlers.threads import IDLE_TIME, THREADS


def echo_on(application, **settings):
    for key, value in settings.items():
        application.app.config[f"WEBSOCKETS_{key}"] = value

    @application.route("/ws")
    def echo(ws):
        for data in ws.iter_data():
            ws.send(data)

    return application.serve()


def test_fragments(application):
    server = echo_on(application, MAX_FRAGMENTS=4)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(b"".join(wire.frame(0 if i else 1, b"x", final=i == 3) for i in range(4)))
        assert wire.read_frame(connection) == (0x81, b"xxxx")
        connection.sendall(b"".join(wire.frame(0 if i else 1, b"", final=False) for i in range(5)))
        assert wire.read_close(connection) == (1008, "message in too many fragments")


def test_a_flood_of_empty_fragments_meets_the_default(application):
    server = echo_on(application)
    with wire.connect(server.port, "/ws") as connection:
        flood = wire.frame(1, b"", final=False) + wire.frame(0, b"", final=False) * 140_000
        sender = threading.Thread(target=send_ignoring_the_end, args=(connection, flood))
        sender.start()
        assert wire.read_close(connection) == (1008, "message in too many fragments")
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # wakes the sender
        sender.join()


def send_ignoring_the_end(connection, data):
    with contextlib.suppress(OSError):
        connection.sendall(data)


def test_messages_a_second(application):
    server = echo_on(application, MAX_MESSAGE_RATE=10)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") * 11)
        for _ in range(10):
            assert wire.read_frame(connection) == (0x81, b"x")
        assert wire.read_close(connection) == (1008, "too many messages a second")


def test_there_is_no_limit_of_the_rate_by_default(application):
    server = echo_on(application)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"x") * 3000)
        for _ in range(3000):
            assert wire.read_frame(connection) == (0x81, b"x")


def test_a_peer_that_reads_nothing_is_cut_off_and_the_handler_told(application):
    ended = []

    @application.route("/ws")
    def pour(ws):
        begun = time.monotonic()
        try:
            while True:
                ws.send(bytes(100_000))
        except ConnectionClosed as error:
            ended.append((error.code, error.reason, time.monotonic() - begun))

    application.app.config["WEBSOCKETS_SEND_TIMEOUT"] = 0.4
    server = application.serve()
    with wire.connect(server.port, "/ws"):
        wait_for(lambda: ended)
    ((code, reason, seconds),) = ended
    assert (code, reason) == (1006, "the peer does not read")
    assert 0.3 < seconds < 5


def test_half_closed_is_lost_after_what_had_arrived(application):
    server = echo_on(application)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"last") + wire.frame(1, b"words"))
        assert wire.read_frame(connection) == (0x81, b"last")
        assert wire.read_frame(connection) == (0x81, b"words")
        connection.shutdown(1)  # SHUT_WR
        wait_for(lambda: application.websockets.stats()["connections"] == 0)


def test_what_comes_after_a_close_is_thrown_away_and_then_the_connection_ends(application):
    server = echo_on(application, CLOSE_TIMEOUT=0.5)
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(8, b"\x03\xe8") + wire.frame(1, b"more") * 1000)
        assert wire.read_close(connection) == (1000, "")
        received = application.websockets.stats()["messages_in"]
        sender = threading.Thread(target=send_for_ever, args=(connection,))
        sender.start()
        wait_for(lambda: application.websockets.stats()["connections"] == 0, 5)
        sender.join()  # the connection is gone, so that sending failed
        assert application.websockets.stats()["messages_in"] == received == 0


def send_for_ever(connection):
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(wire.frame(2, bytes(1000)))


def test_a_close_that_is_not_answered_ends_by_itself(application):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.3

    @application.route("/ws")
    def close(ws):
        ws.close(4000)

    server = application.serve()
    with wire.connect(server.port, "/ws") as connection:
        assert wire.read_close(connection)[0] == 4000
        begun = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.1 < time.monotonic() - begun < 2


# ---- the time of a handshake ----


def test_a_handshake_that_is_not_decided_is_503(application, caplog):
    application.app.config["WEBSOCKETS_HANDSHAKE_TIMEOUT"] = 0.3
    called, ended = [], threading.Event()

    @application.app.before_request
    def slow():
        if flask.request.path == "/ws":
            time.sleep(0.8)

    @application.app.get("/page")
    def page():
        return "fine"

    @application.route("/ws")
    def ws_(ws):
        called.append(True)
        try:
            ws.send("too late")
        except ConnectionClosed as error:
            called.append(str(error))
            raise
        finally:
            ended.set()

    server = application.serve()
    begun = time.monotonic()
    status, answer = refused(server)
    assert status == 503 and b"took too long" in answer and b"Connection: close" in answer
    assert 0.2 < time.monotonic() - begun < 0.7
    assert "/ws was not decided within WEBSOCKETS_HANDSHAKE_TIMEOUT" in caplog.text
    assert server.request("GET /page HTTP/1.1\nHost: x\n\n").endswith(b"fine")
    assert ended.wait(5)
    assert called == [True, "connection closed with 1006 (the handshake took too long)"]


def test_a_body_that_does_not_come_holds_no_worker(application):
    application.app.config["WEBSOCKETS_HANDSHAKE_TIMEOUT"] = 0.3

    @application.app.before_request
    def read():
        flask.request.get_data()

    @application.route("/ws")
    def ws_(ws):
        ws.send("never")

    server = application.serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(wire.request(server.port, "/ws", "Content-Length: 100\r\n") + b"a few")
        assert wire.read_head(connection).startswith("HTTP/1.1 400")
    assert application.app.extensions["flask_websockets.runtime"]._handlers == 0


# ---- connections of one address ----


def refused(server):
    """The status of a handshake, and what is in its body."""
    answer = server.request(wire.request(server.port, "/ws").decode().replace("\r\n", "\n"))
    return int(answer.split()[1]), answer


def test_connections_of_one_address(application, caplog):
    server = echo_on(application, MAX_CONNECTIONS_PER_ADDRESS=3)
    connections = [wire.connect(server.port, "/ws") for _ in range(3)]
    status, answer = refused(server)
    assert status == 503 and b"Retry-After" in answer
    assert "WEBSOCKETS_MAX_CONNECTIONS_PER_ADDRESS is reached" in caplog.text
    connections.pop().close()
    wait_for(lambda: len(application.websockets.connections) == 2)
    wait_for(lambda: refused_or_connected(server, connections))
    for connection in connections:
        connection.close()


def refused_or_connected(server, connections):
    try:
        connections.append(wire.connect(server.port, "/ws"))
    except AssertionError:
        return False
    return True


def test_connections_of_one_process(application, caplog):
    server = echo_on(application, MAX_CONNECTIONS=2)
    connections = [wire.connect(server.port, "/ws") for _ in range(2)]
    assert refused(server)[0] == 503
    assert "WEBSOCKETS_MAX_CONNECTIONS is reached" in caplog.text
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("address", "limit", "most"),
    [
        ("8.8.8.8", None, 1000),
        ("127.0.0.1", None, None),
        ("10.1.2.3", None, None),
        ("::1", None, None),
        ("2a00:1450:4001:81b::200e", None, 1000),
        ("", None, None),
        (None, None, None),
        ("unix:", 5, 5),
        ("127.0.0.1", 5, 5),
        ("8.8.8.8", 0, None),
    ],
)
def test_how_many_one_address_may_have(address, limit, most):
    websockets = Quota()
    name, most_of_it = limit_of(address, limit)
    admitted = []
    while len(admitted) < 1500 and admitted[-1:] != ["limit"]:
        admitted.append(websockets.admit(name, most_of_it, 0))
    assert websockets.total == (most or 1500)
    admitted.clear()
    assert websockets.total == 0


def test_an_ipv6_network_of_64_bits_is_one_address():
    def name(address):
        return limit_of(address, None)[0]

    assert name("2a00:1450:4001:81b::1") == name("2a00:1450:4001:81b:ffff::2")
    assert name("2a00:1450:4001:81b::1") != name("2a00:1450:4001:81c::1")
    assert name("::ffff:8.8.8.8") == name("8.8.8.8")


def test_a_quota_counts_by_name_and_altogether():
    quota = Quota()

    def admit(name, limit, limit_of_all):
        admission = quota.admit(name, limit, limit_of_all)
        return admission if isinstance(admission, str) else admitted.append(admission)

    admitted = []
    assert [admit("a", 2, 3) for _ in range(3)] == [None, None, "limit"]
    assert [admit("b", 0, 3) for _ in range(2)] == [None, "limit_of_all"]
    assert quota.total == 3
    admitted[0].discard()
    assert [admit("a", 2, 3), admit("a", 2, 0)] == [None, "limit"]
    for admission in admitted * 2:  # the second time does nothing
        admission.discard()
    assert quota.total == 0
    with pytest.raises(TypeError, match="a name must be a str, not int"):
        quota.admit(1, 0, 0)
    assert quota.total == 0


def test_what_a_quota_has_admitted_is_a_member_until_its_admission_ends():
    quota, member, other = Quota(), object(), object()
    first, second = quota.admit("a", 0, 0, member), quota.admit("b", 0, 0, other)
    assert quota.members() == {member: "a", other: "b"}
    first.discard()
    assert quota.members() == {other: "b"}
    del second  # without discard()
    assert (quota.members(), quota.total) == ({}, 0)
    del first  # which has been discarded
    assert quota.total == 0
    with pytest.raises(TypeError, match="unhashable"):
        quota.admit("a", 0, 0, [])
    assert (quota.members(), quota.total) == ({}, 0)


def test_an_admission_that_belongs_to_its_member_is_collected_with_it():
    class Member:
        pass

    quota, member = Quota(), Member()
    member.admission = quota.admit("a", 0, 0, member)
    seen = weakref.ref(member)
    del quota, member
    gc.collect()
    assert seen() is None


def test_a_quota_is_exact_between_threads():
    quota, threads, admitted = Quota(), 8, []
    most = []

    def come_and_go():
        for _ in range(3000):
            admission = quota.admit("a", 5, 0)
            if not isinstance(admission, str):
                admitted.append(None)
                most.append(len(admitted))
                admitted.pop()
                admission.discard()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run_at_once([come_and_go] * threads)
    finally:
        sys.setswitchinterval(before)
    assert max(most) <= 5 and quota.total == 0


def run_at_once(functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- descriptors and threads used up ----

FEW_DESCRIPTORS = """
import logging, resource
from flask import Flask
from flask_websockets import WebSockets

resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/ws")
def ws(ws):
    ws.send("hello")
    ws.receive()

app.run(host="127.0.0.1", port=PORT)
"""


def test_descriptors_used_up_is_503_and_passes(program):
    server = program(FEW_DESCRIPTORS)
    accepted, status = [], 101
    while status == 101 and len(accepted) < 60:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(wire.request(server.port, "/ws"))
        status = int(wire.read_head(connection).split()[1])
        accepted.append(connection)
    assert status == 503
    assert len(accepted) > 10
    time.sleep(0.1)  # by then every handler waits in poll
    for connection in accepted[:-1]:
        assert wire.read_frame(connection) == (0x81, b"hello")
        connection.sendall(wire.frame(1, b"goodbye"))
        assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
    for connection in accepted:
        connection.close()
    wait_for(lambda: can_connect(server), what="the server to recover")


def can_connect(server):
    try:
        with wire.connect(server.port, "/ws", timeout=2) as connection:
            return wire.read_frame(connection) == (0x81, b"hello")
    except (OSError, AssertionError):
        return False


def test_no_thread_to_be_had_is_503(application, monkeypatch):
    server = echo_on(application)

    def no_thread(thread):
        if thread.name.startswith("ws "):
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    wait_for(lambda: not THREADS.idle, 2 * IDLE_TIME)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert refused(server)[0] == 503
    with wire.connect(server.port, "/ws"):
        pass


def test_no_memory_at_the_handshake_is_503(application, monkeypatch):
    server = echo_on(application)
    runtime = application.app.extensions["flask_websockets.runtime"]

    class Exhausted:
        def attach(self, *args, **options):
            raise MemoryError

    with wire.connect(server.port, "/ws"):  # makes what counts its route
        real = runtime.engine
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "engine", Exhausted())
        assert refused(server)[0] == 503
    assert runtime.engine is real
    with wire.connect(server.port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"fine"))
        assert wire.read_frame(connection) == (0x81, b"fine")


def test_what_no_memory_has_refused_may_be_accepted_later(application, monkeypatch):
    """With what the client had sent meanwhile."""
    runtime = application.app.extensions["flask_websockets.runtime"]
    raised = []

    @application.route("/ws")
    def echo(ws):
        try:
            ws.accept()
        except ServiceUnavailable as error:
            raised.append(error)
        for data in ws.iter_data():
            ws.send(data)

    class ExhaustedOnce:
        def attach(self, *args, **options):
            if not raised:
                raise MemoryError
            real.attach(*args, **options)

    server = application.serve()
    with wire.connect(server.port, "/ws"):  # makes what counts its route
        real = runtime.engine
    monkeypatch.setattr(runtime, "engine", ExhaustedOnce())
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(wire.request(server.port, "/ws") + wire.frame(1, b"early"))
        assert " 101 " in wire.read_head(connection)
        assert wire.read_frame(connection) == (0x81, b"early")
    assert len(raised) == 1
