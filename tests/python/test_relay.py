"""TLS that the server ends itself: the relay between peers and engine, and peers that misbehave."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import flask
import pytest
import wire
from conftest import wait_for
from werkzeug.serving import make_server

from flask_websockets import WebSockets, relay

SNAPSHOT = bytes(2 << 20)


class Server:
    """An application behind TLS, in a thread of the tests."""

    def __init__(self, authority, **configuration):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.context, certificate = authority
        self.app = flask.Flask("relayed")
        self.app.config.update({f"WEBSOCKETS_{key}": value for key, value in configuration.items()})
        websockets = WebSockets(self.app)

        @websockets.route("/echo")
        def echo(ws):
            for data in ws.iter_data():
                ws.send(data)

        @websockets.route("/flood")
        def flood(ws):
            while True:
                ws.send(b"x" * 100_000)

        @websockets.route("/snapshot")
        def snapshot(ws):
            ws.send(SNAPSHOT)

        self.runtime = self.app.extensions["flask_websockets.runtime"]
        self.http = make_server("127.0.0.1", 0, self.app, threaded=True, ssl_context=certificate)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.connections: list[socket.socket] = []

    def connect(self, path: str) -> ssl.SSLSocket:
        connection = self.handshake(path)
        assert wire.read_head(connection).startswith("HTTP/1.1 101")
        return connection

    def handshake(self, path: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.http.server_port), timeout=20)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection = self.context.wrap_socket(plain, server_hostname="localhost")
        self.connections.append(connection)
        connection.sendall(wire.request(self.http.server_port, path))
        return connection

    def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        self.runtime.shut_down()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        wait_for(lambda: self.runtime._handlers == 0)
        wait_for(lambda: not relay.relay()._connections, what="the relay to be empty")


@pytest.fixture
def serve(authority):
    started = []

    def start(**configuration) -> Server:
        started.append(Server(authority, **{"CLOSE_TIMEOUT": 1, **configuration}))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_many_messages_in_one_record(serve):
    connection = serve().connect("/echo")
    for _ in range(20):
        connection.sendall(b"".join(wire.frame(1, b"%d" % number) for number in range(100)))
        assert [wire.read_frame(connection) for _ in range(100)] == [
            (0x81, b"%d" % number) for number in range(100)
        ]


def exchange(connection: ssl.SSLSocket, data: bytes, size: int) -> bytes:
    """Send as fast as the peer takes it, and read as fast as it comes, in one thread: an SSL object is
    not for two."""
    connection.settimeout(0)
    unsent, received = memoryview(data), bytearray()
    deadline = time.monotonic() + 20
    while len(received) < size:
        assert time.monotonic() < deadline, (len(unsent), len(received))
        if unsent:
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                unsent = unsent[connection.send(unsent[:65536]) :]
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            received += connection.recv(65536)
    return bytes(received)


@pytest.mark.parametrize("size", [64 * 1024, 1 << 20])
def test_large_messages_both_ways_at_once(serve, size):
    connection = serve().connect("/echo")
    data = os.urandom(size)
    echoed = b"\x82\x7f" + size.to_bytes(8, "big") + data
    assert exchange(connection, wire.frame(2, data) * 8, 8 * len(echoed)) == echoed * 8


def vanish(connection: ssl.SSLSocket) -> None:
    """Without a word: a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def test_peers_that_vanish_leave_nothing(serve):
    server = serve()
    server.connect("/echo").close()
    wait_for(lambda: not relay.relay()._connections)
    before = files()
    for path in ("/echo", "/flood"):
        connections = [server.connect(path) for _ in range(10)]
        time.sleep(0.2)
        for connection in connections:
            vanish(connection)
        wait_for(lambda: files() <= before, what=f"the descriptors of {path} to be closed")


def test_a_peer_that_reads_nothing_is_given_up(serve):
    server = serve(SEND_TIMEOUT=0.5)
    server.connect("/echo").close()
    wait_for(lambda: not relay.relay()._connections)
    server.connect("/flood")
    # The engine cuts off what does not get on; what the relay has taken already gets 5 s.
    wait_for(lambda: not relay.relay()._connections, 10)


def test_what_is_left_goes_to_a_peer_that_goes_on_reading(serve, monkeypatch):
    """Also when the engine has gone long ago: there is no time-out but for taking nothing."""
    monkeypatch.setattr(relay, "LAST_BYTES_TIMEOUT", 0.5)
    server = serve(CLOSE_TIMEOUT=0.2)
    connection = server.connect("/snapshot")
    begun, received = time.monotonic(), 0
    while data := connection.recv(16384):
        received += len(data)
        time.sleep(0.02)
    assert received == 10 + len(SNAPSHOT) + len(b"\x88\x02\x03\xe8")
    assert time.monotonic() - begun > 1.5


@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "end of the stream"])
def test_a_peer_that_ends_its_side_while_it_is_sent_to(serve, notifies):
    """Close, and the end of its side behind it: what is under way is finished, then comes our close
    frame."""
    server = serve()
    plain = socket.create_connection(("127.0.0.1", server.http.server_port), timeout=20)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    def drive(step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))

    drive(tls.do_handshake)
    tls.write(wire.request(server.http.server_port, "/snapshot"))
    plain.sendall(outgoing.read())
    head = b""
    while b"\r\n\r\n" not in head:
        head += drive(lambda: tls.read(1))
    received = bytearray(drive(lambda: tls.read(1)))  # the message is under way
    tls.write(wire.frame(8, b"\x03\xe8"))
    # OpenSSL refuses to end a connection while it has data to be read: those are put aside.
    received += tls.read(tls.pending()) if tls.pending() else b""
    aside = incoming.read()
    if notifies:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()  # sends close_notify
    plain.sendall(outgoing.read())
    if not notifies:
        plain.shutdown(socket.SHUT_WR)
    incoming.write(aside)
    time.sleep(0.2)
    with contextlib.suppress(ssl.SSLZeroReturnError):  # the server's close_notify
        while data := drive(lambda: tls.read(65536)):
            received += data
    assert received[-4:] == b"\x88\x02\x03\xe8"
    assert len(received) == 10 + len(SNAPSHOT) + 4
    plain.close()


def test_the_closing_handshake_and_close_notify(serve):
    connection = serve().connect("/echo")
    connection.sendall(wire.frame(1, b"last") + wire.frame(8, b"\x03\xe8"))
    assert wire.read_frame(connection) == (0x81, b"last")
    assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
    assert connection.recv(1) == b""  # close_notify: a bare end would be an error
    connection.unwrap().close()


def test_a_peer_that_ends_its_side(serve):
    """It sends close_notify, and is answered with one."""
    connection = serve().connect("/echo")
    connection.sendall(wire.frame(1, b"last"))
    assert wire.read_frame(connection) == (0x81, b"last")
    connection.unwrap().close()
    wait_for(lambda: not relay.relay()._connections)


def test_what_hangs_up_does_not_keep_the_relay_busy(serve):
    server = serve()
    for _ in range(5):
        vanish(server.connect("/flood"))
    idle = server.connect("/echo")
    flooded = server.connect("/flood")
    time.sleep(0.5)
    begun = time.process_time()
    time.sleep(1)
    assert time.process_time() - begun < 0.5
    flooded.close()
    idle.sendall(wire.frame(1, b"awake"))
    assert wire.read_frame(idle) == (0x81, b"awake")


@pytest.mark.parametrize("where", ["engine", "relay"])
def test_descriptors_used_up_is_503_over_tls(serve, monkeypatch, where):
    server = serve()
    server.connect("/echo").close()

    class Exhausted:
        def attach(self, *args, **options):
            raise OSError(errno.EMFILE, "Too many open files")

    def no_pair():
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        if where == "engine":
            patch.setattr(server.runtime, "engine", Exhausted())
        else:
            patch.setattr("flask_websockets.relay._socket.socketpair", no_pair)
        connection = server.handshake("/echo")
        answer = b""
        while more := connection.recv(4096):
            answer += more
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"no descriptors or no memory" in answer
    again = server.connect("/echo")
    again.sendall(wire.frame(1, b"again"))
    assert wire.read_frame(again) == (0x81, b"again")


def test_one_that_fails_does_not_take_the_others_with_it(serve, monkeypatch, caplog):
    server = serve()
    one, other = server.connect("/echo"), server.connect("/echo")
    receive = relay.Connection.receive

    def no_memory(connection):
        if connection.tls_fd == failing[0]:
            raise MemoryError
        return receive(connection)

    one.sendall(wire.frame(1, b"who is it?"))
    assert wire.read_frame(one) == (0x81, b"who is it?")
    failing = [max(c.tls_fd for c in relay.relay()._connections.values())]
    with monkeypatch.context() as patch:
        patch.setattr(relay.Connection, "receive", no_memory)
        for connection in (one, other):
            connection.sendall(wire.frame(1, b"x"))
        ended = 0
        for connection in (one, other):
            try:
                assert wire.read_frame(connection) == (0x81, b"x")
            except (OSError, EOFError, ConnectionError):
                ended += 1
        assert ended == 1
    assert "a TLS connection is cut off" in caplog.text
    again = server.connect("/echo")
    again.sendall(wire.frame(1, b"again"))
    assert wire.read_frame(again) == (0x81, b"again")


def test_no_thread_for_the_relay_is_503_and_later_there_is_one(serve, monkeypatch):
    def without_threads(module, name):
        return no_thread if module == "_thread" else original(module, name)

    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    server, original = serve(), relay.original
    with monkeypatch.context() as patch:
        patch.setattr(relay, "_relays", {})
        patch.setattr(relay, "original", without_threads)
        connection = server.handshake("/echo")
        answer = b""
        while more := connection.recv(4096):
            answer += more
        assert not relay._relays
    assert answer.startswith(b"HTTP/1.1 503")
    again = server.connect("/echo")
    again.sendall(wire.frame(1, b"again"))
    assert wire.read_frame(again) == (0x81, b"again")


def test_the_peer_changes_its_keys(serve):
    """A key update of TLS 1.3 (RFC 8446 section 4.6.3), which asks for one in return: to answer it the
    relay has to write while it reads. openssl s_client does so at a line "K"."""
    server = serve()
    address = f"127.0.0.1:{server.http.server_port}"
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", address, "-tls1_3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    read = bytearray()

    def keep_reading():
        while more := os.read(client.stdout.fileno(), 65536):
            read.extend(more)

    reader = threading.Thread(target=keep_reading)
    reader.start()

    def write(data):
        os.write(client.stdin.fileno(), data)

    try:
        wait_for(lambda: b"Verify return code" in read)  # from here on it reads what we write
        write(wire.request(server.http.server_port, "/echo"))
        wait_for(lambda: b"101 Switching Protocols" in read)
        for number in range(5):
            write(b"K\n")
            wait_for(lambda number=number: read.count(b"KEYUPDATE") == number + 1)
            text = b"echo %d %s." % (number, b"x" * 20_000)
            write(wire.frame(1, text))
            wait_for(lambda text=text: text in read)
    finally:
        client.kill()
        client.wait()
        reader.join()
        client.stdin.close()
        client.stdout.close()
