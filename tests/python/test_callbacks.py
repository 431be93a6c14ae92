"""Callbacks of class views: what they do, and what they may do wrong."""

from __future__ import annotations

import contextvars
import ctypes
import os
import signal
import subprocess
import threading
import time

import pytest
import wire
from conftest import wait_for
from processes import thread_names
from views import Recorder, echo_view

from flask_websockets import WebSocketView


@pytest.fixture
def noted():
    return Recorder()


# ---- what callbacks do ----


def test_a_class_view_does_not_receive(application):
    @application.route("/ws")
    class Receives(WebSocketView):
        def on_message(self, ws, data):
            for call in (ws.receive, lambda: next(ws.iter_data())):
                with pytest.raises(RuntimeError, match="its messages come to on_message"):
                    call()
            ws.send("right")

    client = application.serve().connect("/ws")
    client.send("x")
    assert client.recv() == "right"


def test_a_process_that_is_started_can_be_ended(application):
    @application.route("/ws")
    class Starts(WebSocketView):
        def on_message(self, ws, data):
            with subprocess.Popen(["sleep", "60"]) as process:
                process.terminate()
                try:
                    ended = process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    ended = None
            ws.send(str(ended))

    client = application.serve().connect("/ws")
    for _ in range(2):  # in the leader's thread, and apart
        client.send("start")
        assert client.recv() == str(-signal.SIGTERM)


def test_channels(application):
    @application.route("/room/<name>")
    class Room(WebSocketView):
        def on_open(self, ws, name):
            application.websockets.subscribe(ws, name)
            ws.send("in")

        def on_message(self, ws, data):
            assert application.websockets.publish(data, ws.channels) == 3
            ws.send("published")

    server = application.serve()
    clients = [server.connect("/room/a") for _ in range(3)]
    assert [client.recv() for client in clients] == ["in"] * 3
    clients[0].send("to all")
    assert [clients[0].recv(), clients[0].recv()] == ["to all", "published"]
    assert [client.recv() for client in clients[1:]] == ["to all"] * 2
    clients[2].close()
    wait_for(lambda: application.websockets.publish("x", "a") == 2)


def test_it_may_be_used_from_other_threads(application):
    @application.route("/ws")
    class Works(WebSocketView):
        def on_message(self, ws, data):
            def work():
                time.sleep(0.05)
                ws.send(f"done {data}")

            threading.Thread(target=work).start()

    client = application.serve().connect("/ws")
    client.send("it")
    assert client.recv() == "done it"


def test_a_ping(application):
    @application.route("/ws")
    class Pings(WebSocketView):
        def on_message(self, ws, data):
            ws.send(str(0 <= ws.ping() < 5))

    client = application.serve().connect("/ws")
    client.send("x")
    assert client.recv_data_frame(control_frame=True)[0] == 9
    assert client.recv() == "True"


def test_much_that_nobody_reads_blocks_the_sender_alone(application, noted):
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 100_000

    @application.route("/flood")
    class Floods(WebSocketView):
        def on_message(self, ws, data):
            for _ in range(1000):
                ws.send(b"x" * 100_000)

        def on_close(self, ws, code, reason):
            noted("close", code)

    echo_view(application)
    server = application.serve()
    flooded = wire.connect(server.port, "/flood")
    flooded.sendall(wire.frame(1, b"go"))
    client = server.connect("/ws")
    for _ in range(100):
        client.send("x")
        assert client.recv() == "x"
    flooded.close()
    wait_for(lambda: noted.calls and noted.calls[0][0] == "close")


def test_stats(application):
    sleeper(application, 0.05)
    server = application.serve()
    stats = application.websockets.stats
    client = server.connect("/sleep")
    client.send("x")
    assert [client.recv(), client.recv()] == ["asleep", "awake"]
    client.close(4005)
    wait_for(lambda: stats()["closes"] == {4005: 1})
    now = stats()
    assert (now["messages_in"], now["messages_out"], now["connections"]) == (1, 2, 0)
    assert now["queued_bytes"] == 0
    assert 0.05 <= now["callback_time"]["max"] < 0.5
    assert 0 < now["callback_time"]["p50"] <= now["callback_time"]["p99"] <= now["callback_time"]["max"]
    assert 0 < now["loop_lag"]["p50"] <= now["loop_lag"]["max"] < 0.05  # somebody else led meanwhile


def queued(application):
    return application.websockets.stats()["queued_bytes"]


def fill_up(application):
    """Publish until the peers' sockets take no more; what is queued then, in bytes."""
    while queued(application) == 0:
        application.websockets.publish(b"x" * 100_000, "all")
        time.sleep(0.001)
    before = -1
    while before != (now := queued(application)):
        before = now
        time.sleep(0.05)
    return now


def test_stats_of_what_is_queued(application):
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 50_000_000

    @application.route("/ws")
    class Fills(WebSocketView):
        def on_open(self, ws):
            application.websockets.subscribe(ws, "all")

        def on_message(self, ws, data):
            pass

    server = application.serve()
    with wire.connect(server.port, "/ws"):
        wait_for(lambda: application.websockets.publish(b"x", "all") == 1)
        full = fill_up(application)
        # Nobody writes any of these: the peer takes nothing.
        for _ in range(10):
            application.websockets.publish(b"x" * 100_000, "all")
        wait_for(lambda: queued(application) == full + 10 * (100_000 + 10))
    wait_for(lambda: queued(application) == 0)


def test_stats_of_one_large_message(application):
    """Larger than what may be queued: its sender waits, and the bytes stay where they are."""

    @application.route("/ws")
    def sends(ws):
        ws.send(b"x" * 60_000_000)

    server = application.serve()
    with wire.connect(server.port, "/ws"):
        wait_for(lambda: queued(application) > 20_000_000)
    wait_for(lambda: queued(application) == 0)


# ---- callbacks that block ----


def sleeper(application, asleep=0.3):
    @application.route("/sleep")
    class Sleeps(WebSocketView):
        def on_message(self, ws, data):
            ws.send("asleep")
            time.sleep(asleep)
            ws.send("awake")

    return Sleeps


def test_callbacks_that_sleep_hold_up_nobody(application):
    sleeper(application, 1)
    echo_view(application)
    server = application.serve()
    sleepers = [server.connect("/sleep") for _ in range(30)]
    client = server.connect("/ws")
    times = []
    for round_ in range(2):
        begun = time.monotonic()
        for one in sleepers:
            one.send("x")
        for _ in range(50):
            sent = time.monotonic()
            client.send("x")
            client.recv()
            times.append(time.monotonic() - sent)
        for one in sleepers:
            assert [one.recv(), one.recv()] == ["asleep", "awake"]
        assert time.monotonic() - begun < 2.5, round_  # all at the same time
    assert sorted(times)[90] < 0.1


def test_what_a_callback_sends_before_it_sleeps_goes_out(application):
    sleeper(application, 1)
    client = application.serve().connect("/sleep")
    begun = time.monotonic()
    client.send("x")
    assert client.recv() == "asleep"
    assert time.monotonic() - begun < 0.5
    assert client.recv() == "awake"


def test_no_more_at_once_than_callback_threads(application):
    application.app.config["WEBSOCKETS_CALLBACK_THREADS"] = 3
    inside, most = [], []

    @application.route("/ws")
    class Counts(WebSocketView):
        def on_message(self, ws, data):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.1)
            inside.pop()
            ws.send(data)

    server = application.serve()
    clients = [server.connect("/ws") for _ in range(12)]
    for client in clients:
        client.send("x")
    for client in clients:
        assert client.recv() == "x"
    assert 2 <= max(most) <= 3


def test_a_callback_that_never_returns(application, noted):
    for_ever = threading.Event()

    @application.route("/stuck")
    class Stuck(WebSocketView):
        def on_message(self, ws, data):
            noted("stuck")
            for_ever.wait()

    echo_view(application, on_close=lambda self, ws, code, reason: noted("close", code))
    server = application.serve()
    stuck = wire.connect(server.port, "/stuck")
    stuck.sendall(wire.frame(1, b"x"))
    noted.wait("stuck")
    client = server.connect("/ws")
    client.send("x")
    assert client.recv() == "x"
    reader = threading.Thread(target=client.recv_data)
    reader.start()
    begun = time.monotonic()
    server.app.extensions["flask_websockets.runtime"].shut_down()
    assert time.monotonic() - begun < 6
    assert ("close", 1001) in noted.calls
    reader.join()
    stuck.close()
    for_ever.set()


def test_a_callback_that_forks(application, noted):
    def leave_at_exit():
        libc = ctypes.CDLL(None)
        libc.__cxa_atexit(libc._exit, ctypes.c_void_p(8), None)

    @application.route("/ws")
    class Forks(WebSocketView):
        def on_message(self, ws, data):
            if data == "hello":
                ws.send(data)
                return
            child = os.fork()
            if child == 0:
                if data == "exit":
                    os._exit(7)
                # Into nothing: its threads are the parent's. The last thread's end is the
                # process's, and not for LeakSanitizer to judge.
                leave_at_exit()
                return
            noted(data, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            ws.send("parent")

    client = application.serve().connect("/ws")
    client.send("hello")
    assert client.recv() == "hello"
    # AddressSanitizer's allocator does not survive a fork while another thread is just starting.
    wait_for(lambda: thread_names(os.getpid()).count("fws-engine") == 2)
    client.send("exit")
    assert client.recv() == "parent"
    client.send("return")
    assert client.recv() == "parent"
    assert noted.calls == [("exit", 7), ("return", 8)]


def test_on_close_is_called_though_the_context_cannot_be_entered(application, monkeypatch, noted):
    unraisable = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    left = contextvars.copy_context()

    @application.route("/ws")
    class Enters(WebSocketView):
        def on_message(self, ws, data):  # as a faulty extension may: it does not leave it
            ctypes.pythonapi.PyContext_Enter(ctypes.py_object(left))

        def on_close(self, ws, code, reason):
            noted("close", code)

    client = application.serve().connect("/ws")
    client.send("x")
    wait_for(lambda: unraisable)  # on_message's context could not be left
    client.close()
    wait_for(lambda: noted.calls)
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)
    assert [call[0] for call in noted.calls] == ["close"]
