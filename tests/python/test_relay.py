"""TLS that the server ends itself: the relay between peers and engine, and peers that misbehave."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
import wire
from conftest import wait_for
from relaying import SNAPSHOT, exchange

from flask_websockets.tls import relay


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_many_messages_in_one_record(serve_tls):
    connection = serve_tls().connect("/echo")
    for _ in range(20):
        connection.sendall(b"".join(wire.frame(1, b"%d" % number) for number in range(100)))
        assert [wire.read_frame(connection) for _ in range(100)] == [
            (0x81, b"%d" % number) for number in range(100)
        ]


@pytest.mark.parametrize("size", [64 * 1024, 1 << 20])
def test_large_messages_both_ways_at_once(serve_tls, size):
    connection = serve_tls().connect("/echo")
    data = os.urandom(size)
    echoed = b"\x82\x7f" + size.to_bytes(8, "big") + data
    assert exchange(connection, wire.frame(2, data) * 8, 8 * len(echoed)) == echoed * 8


def vanish(connection: ssl.SSLSocket) -> None:
    """Without a word: a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def test_peers_that_vanish_leave_nothing(serve_tls):
    server = serve_tls()
    server.connect("/echo").close()
    wait_for(lambda: not relay.relay()._connections)
    before = files()
    for path in ("/echo", "/flood"):
        connections = [server.connect(path) for _ in range(10)]
        time.sleep(0.2)
        for connection in connections:
            vanish(connection)
        wait_for(lambda: files() <= before, what=f"the descriptors of {path} to be closed")


def test_a_peer_that_reads_nothing_is_given_up(serve_tls):
    server = serve_tls(SEND_TIMEOUT=0.5)
    server.connect("/echo").close()
    wait_for(lambda: not relay.relay()._connections)
    server.connect("/flood")
    # The engine cuts off what does not get on; what the relay has taken already gets 5 s.
    wait_for(lambda: not relay.relay()._connections, 10)


def test_what_is_left_goes_to_a_peer_that_goes_on_reading(serve_tls, monkeypatch):
    """Also when the engine has gone long ago: there is no time-out but for taking nothing."""
    monkeypatch.setattr(relay, "LAST_BYTES_TIMEOUT", 0.5)
    server = serve_tls(CLOSE_TIMEOUT=0.2)
    connection = server.connect("/snapshot")
    begun, received = time.monotonic(), 0
    while data := connection.recv(16384):
        received += len(data)
        time.sleep(0.02)
    assert received == 10 + len(SNAPSHOT) + len(b"\x88\x02\x03\xe8")
    assert time.monotonic() - begun > 1.5


@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "end of the stream"])
def test_a_peer_that_ends_its_side_while_it_is_sent_to(serve_tls, notifies):
    """Close, and the end of its side behind it: what is under way is finished, then comes our close
    frame."""
    server = serve_tls()
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


def test_the_closing_handshake_and_close_notify(serve_tls):
    connection = serve_tls().connect("/echo")
    connection.sendall(wire.frame(1, b"last") + wire.frame(8, b"\x03\xe8"))
    assert wire.read_frame(connection) == (0x81, b"last")
    assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
    assert connection.recv(1) == b""  # close_notify: a bare end would be an error
    connection.unwrap().close()


def test_a_peer_that_ends_its_side(serve_tls):
    """It sends close_notify, and is answered with one."""
    connection = serve_tls().connect("/echo")
    connection.sendall(wire.frame(1, b"last"))
    assert wire.read_frame(connection) == (0x81, b"last")
    connection.unwrap().close()
    wait_for(lambda: not relay.relay()._connections)


def test_what_hangs_up_does_not_keep_the_relay_busy(serve_tls):
    server = serve_tls()
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


def test_the_peer_changes_its_keys(serve_tls):
    """A key update of TLS 1.3 (RFC 8446 section 4.6.3), which asks for one in return: to answer it the
    relay has to write while it reads. openssl s_client does so at a line "K"."""
    server = serve_tls()
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
