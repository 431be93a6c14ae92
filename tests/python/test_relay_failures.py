"""What fails in the relay of TLS connections, and what goes on all the same."""

from __future__ import annotations

import _ssl
import contextlib
import ctypes
import errno
import functools
import select
import ssl
import sys
import threading

import pytest
import wire
from conftest import thread_names, wait_for
from relaying import exchange

from flask_websockets import _core
from flask_websockets.tls import openssl, relay, relayed


def echoes(connection, text: bytes) -> bool:
    """Does it get its message back? False when it is cut off."""
    try:
        connection.sendall(wire.frame(1, text))
        return wire.read_frame(connection) == (0x81, text)
    except (OSError, EOFError):
        with contextlib.suppress(ssl.SSLError):
            openssl.emptying()()  # of this thread, where the next client would meet it
        return False


def relayed_connections():
    return {*relay.relay()._connections.values()}


# ---- OpenSSL's error queue ----


def leave_an_error() -> None:
    """In OpenSSL's queue of this thread, as a finalizer of anything with TLS may do."""
    with pytest.raises(ValueError):
        _ssl.txt2obj("no such name", name=True)


def pair_in_memory(authority):
    """Two ends of one TLS connection: objects of C, as the relay has them, and the bytes between."""
    client, (certificate, key) = authority
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    done = 0
    for end in ends * 3:
        try:
            end.do_handshake()
            done += 1
        except ssl.SSLWantReadError:
            pass
    assert done >= 2
    return ends[0]._sslobj, ends[1]._sslobj, there


def test_an_error_in_the_queue_is_not_taken_for_one_of_the_connection(authority):
    client, server, _ = pair_in_memory(authority)
    leave_an_error()
    with pytest.raises(ssl.SSLError) as seen:  # what the rest is for
        server.read(10)
    assert not isinstance(seen.value, ssl.SSLWantReadError)
    leave_an_error()
    with pytest.raises(ssl.SSLWantReadError):
        openssl.certain(server.read, 10)
    client.write(b"here")
    leave_an_error()
    assert openssl.certain(server.read, 10) == b"here"
    with pytest.raises(ssl.SSLWantReadError):  # the other's close_notify, for which it does not wait
        client.shutdown()
    leave_an_error()
    assert openssl.certain(server.read, 10) == b""


def test_an_error_of_the_connection_is_still_one(authority):
    client, server, there = pair_in_memory(authority)
    client.write(b"here")
    garbled = bytearray(there.read())
    garbled[-1] ^= 1
    there.write(garbled)
    for _ in range(2):
        with pytest.raises(ssl.SSLError) as seen:
            openssl.certain(server.read, 10)
        assert not isinstance(seen.value, (ssl.SSLWantReadError, ssl.SSLWantWriteError))


def test_no_python_code_runs_between_the_two_calls_of_c():
    class Thrown(Exception):
        pass

    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    here = ctypes.c_ulong(threading.get_ident())
    called = []
    with pytest.raises(Thrown):
        _core.call_after(functools.partial(throw, here, ctypes.py_object(Thrown)), called.append, 1)
        called.append(2)
    assert called == [1]


def test_what_the_first_call_does_is_of_no_account():
    assert _core.call_after(dict().popitem, len, "four") == 4  # a KeyError
    with pytest.raises(TypeError):
        _core.call_after(list, len, 4)
    with pytest.raises(SystemExit):
        _core.call_after(sys.exit, len, "four")
    with pytest.raises(TypeError):
        _core.call_after(list, len)


def test_a_connection_is_not_cut_off_for_what_another_one_left(serve_tls, monkeypatch):
    """Whoever has left it."""
    left = []

    def after_an_error(connection, method):
        leave_an_error()
        left.append(connection)
        return method(connection)

    for name in ("receive", "send"):
        method = getattr(relayed.Connection, name)
        monkeypatch.setattr(
            relayed.Connection,
            name,
            lambda connection, method=method: after_an_error(connection, method),
        )
    connection = serve_tls().connect("/echo")
    data = bytes(1 << 20)  # so that it finds half a record, and no room for one
    echoed = b"\x82\x7f" + len(data).to_bytes(8, "big") + data
    assert exchange(connection, wire.frame(2, data) * 4, 4 * len(echoed)) == echoed * 4
    assert left


# ---- a connection that fails ----


class Timeout(BaseException):
    """As those of gevent."""


@pytest.mark.parametrize("error", [MemoryError, OSError, SystemExit, KeyboardInterrupt, Timeout])
@pytest.mark.parametrize("where", ["receive", "send", "interest", "close"])
def test_one_that_fails_does_not_take_the_others_with_it(serve_tls, monkeypatch, caplog, where, error):
    server = serve_tls()
    one, other = server.connect("/echo"), server.connect("/echo")
    assert echoes(one, b"who is it?")
    before = relayed_connections()
    failing = min(before, key=lambda connection: connection.tls_fd)
    method = getattr(relayed.Connection, where)

    def fail(connection):
        if connection is failing:
            if where == "close":
                method(connection)
            raise error("on purpose")
        return method(connection)

    with monkeypatch.context() as patch:
        patch.setattr(relayed.Connection, where, fail)
        if where == "close":
            for connection in (one, other):
                connection.sendall(wire.frame(8, b"\x03\xe8"))
                assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
                connection.unwrap().close()
        else:
            for connection in (one, other):
                echoes(connection, b"x")
            wait_for(lambda: "a TLS connection is cut off" in caplog.text)
            assert sorted(echoes(connection, b"y") for connection in (one, other)) == [False, True]
        wait_for(lambda: failing not in relayed_connections())
    assert failing.plain.fileno() == -1
    assert echoes(server.connect("/echo"), b"again")


def test_one_that_the_system_refuses_to_watch(serve_tls, monkeypatch, caplog):
    """Of epoll(7): too many are watched."""
    server = serve_tls()
    one = server.connect("/echo")
    assert echoes(one, b"watched")
    poll = relay.relay()._poll

    def full(fd, events):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(poll, "register", full)
        assert not echoes(server.connect("/echo"), b"x")
    assert "No space left on device" in caplog.text
    assert echoes(one, b"one")
    assert echoes(server.connect("/echo"), b"again")


# ---- the relay itself ----


def test_a_turn_that_fails_loses_nothing(serve_tls, monkeypatch, caplog):
    server = serve_tls()
    connections = [server.connect("/echo") for _ in range(3)]
    serve, failed = relay.Relay._serve, []

    def fail_every_other_turn(one, connection, now):
        if len(failed) % 2 == 0:
            failed.append(connection)
            raise MemoryError
        failed.append(None)
        serve(one, connection, now)

    monkeypatch.setattr(relay.Relay, "_serve", fail_every_other_turn)
    for number in range(20):
        assert all(echoes(connection, b"%d" % number) for connection in connections)
    assert len(failed) >= 60
    assert "a turn of the TLS relay has failed" in caplog.text


def test_after_a_relay_that_fails_there_is_another(serve_tls, monkeypatch, caplog):
    server = serve_tls()
    connections = [server.connect("/echo") for _ in range(3)]
    assert all(echoes(connection, b"x") for connection in connections)
    failing, before = relay.relay(), relayed_connections()

    def broken(seconds):
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(failing._poll, "wait", broken)
    failing.wake()
    # Until it has failed it may be in its last turn, and serve one that asks in time.
    wait_for(lambda: relay._relays.get("relay") is not failing)
    assert not any(echoes(connection, b"x") for connection in connections)
    assert "the TLS relay has failed" in caplog.text
    assert [connection.plain.fileno() for connection in before] == [-1] * 3
    assert echoes(server.connect("/echo"), b"again")
    assert relay.relay() is not failing
    wait_for(lambda: thread_names().count("fws-tls") == 1)


def test_one_that_comes_as_the_relay_ends_is_closed():
    class TLS:
        ssl = closed = None

        def close(self):
            self.closed = True

    one, tls = relay.Relay(), TLS()
    below, peer = relay.native_pair()
    connection, engine = one.connect(tls, below.fileno(), b"")
    one.stop()
    one.start(connection)
    assert tls.closed
    assert connection.plain.fileno() == -1
    one.close()
    for descriptor in (below, peer, engine):
        descriptor.close()


def test_waking_the_relay_never_waits():
    """Also when that has not looked for long, or has ended."""
    one = relay.Relay()
    while select.select([], [one._wake], [], 0)[1]:
        one.wake()
    one.wake()  # full
    one.stop()
    one.turn()  # does not sleep
    one.close()
    one.wake()
    one.stop()


def test_the_thread_of_a_relay_that_nobody_gets_ends(monkeypatch):
    """Another thread has made one first; or has raised an exception in this one."""
    first = relay.relay()

    class Taken(dict):
        def get(self, key):
            return None if not seen.append(key) and len(seen) == 1 else super().get(key)

        def setdefault(self, key, made):
            found = super().setdefault(key, made)
            if thrown:
                raise thrown
            return found

    for thrown in (None, KeyboardInterrupt()):
        seen = []
        monkeypatch.setattr(relay, "_relays", Taken(relay=first))
        if thrown:
            with pytest.raises(KeyboardInterrupt):
                relay.relay()
        else:
            assert relay.relay() is first
        wait_for(lambda: thread_names().count("fws-tls") == 1)


@pytest.mark.parametrize("where", ["engine", "relay"])
def test_descriptors_used_up_is_503_over_tls(serve_tls, monkeypatch, where):
    server = serve_tls()
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
            patch.setattr("flask_websockets.tls.relay._socket.socketpair", no_pair)
        connection = server.handshake("/echo")
        answer = b""
        while more := connection.recv(4096):
            answer += more
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"no descriptors or no memory" in answer
    again = server.connect("/echo")
    again.sendall(wire.frame(1, b"again"))
    assert wire.read_frame(again) == (0x81, b"again")


def test_no_thread_for_the_relay_is_503_and_later_there_is_one(serve_tls, monkeypatch):
    def without_threads(module, name):
        return no_thread if module == "_thread" else original(module, name)

    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    server, original = serve_tls(), relay.original
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
