"""Many tasks on one websocket, whatever becomes of each: no message is lost, none comes twice, each
task has its turn, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections import Counter
from itertools import chain

import pytest
import wire
from async_loops import event_loops as event_loops
from conftest import wait_for

from flask_websockets import ConnectionClosed

#: Bytes; more than the kernel takes for a peer that reads nothing.
LARGE = 12_000_000

READERS, WRITERS, MESSAGES, SENT = 5, 6, 400, 40


async def receive_some(ws, how, received, rng):
    """One way to wait for a message; appends it, or does not."""
    if how == "plain":
        received.append(int(await ws.receive()))
    elif how == "timeout":
        data = await ws.receive(timeout=rng.random() / 200)
        if data is not None:
            received.append(int(data))
    elif how == "wait_for":
        with contextlib.suppress(asyncio.TimeoutError):
            received.append(int(await asyncio.wait_for(ws.receive(), rng.random() / 200)))
    else:  # cancelled, perhaps in the very step in which the message is there
        task = asyncio.ensure_future(ws.receive())
        await asyncio.sleep(rng.choice([0, 0, 0.001]))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            received.append(int(await task))


async def reader(ws, received, seed):
    rng = random.Random(seed)
    with contextlib.suppress(ConnectionClosed):
        while True:
            await receive_some(
                ws, rng.choice(["plain", "timeout", "wait_for", "cancel"]), received, rng
            )
            if rng.random() < 0.1:
                await asyncio.sleep(0)


async def writer(ws, number, sent, seed):
    """Sends numbered messages, some of which are given up while they wait; notes what is sent."""
    rng = random.Random(seed)
    for n in range(SENT):
        data = b"%d %d " % (number, n) + bytes(rng.choice([0, 100, 20_000, 60_000]))
        if rng.random() < 0.3:
            task = asyncio.ensure_future(ws.send(data))
            await asyncio.sleep(rng.choice([0, 0, 0.002]))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                continue
        else:
            await ws.send(data)
        sent.append(n)


def read_slowly(connection, into, until):
    """Read frames, with pauses, up to one that is ``until``."""
    rng = random.Random(7)
    while True:
        first, payload = wire.read_frame(connection)
        assert first == 0x82
        if payload == until:
            return
        into.append(tuple(map(int, payload.split(b" ")[:2])))
        if rng.random() < 0.1:
            time.sleep(0.002)


def slow_connection(port, path):
    """One whose peer has little room for what it has not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    wire.shake_hands(connection, wire.request(port, path))
    return connection


@pytest.mark.parametrize("end", ["the peer closes", "the peer vanishes"])
def test_each_message_is_received_once_and_sent_once(event_loops, application, end):
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 65_536
    received = [[] for _ in range(READERS)]
    sent = [[] for _ in range(WRITERS)]
    websockets, done = [], []

    @application.route("/ws")
    async def view(ws):
        websockets.append(ws)
        readers = [asyncio.create_task(reader(ws, into, n)) for n, into in enumerate(received)]
        writers = [asyncio.create_task(writer(ws, n, into, n)) for n, into in enumerate(sent)]
        await asyncio.gather(*writers)
        await ws.send(b"all is sent")
        await asyncio.gather(*readers)
        done.append(ws.close_code)

    connection = slow_connection(application.serve().port, "/ws")
    arrived = []
    with connection:
        thread = threading.Thread(target=read_slowly, args=(connection, arrived, b"all is sent"))
        thread.start()
        for n in range(MESSAGES):
            connection.sendall(wire.frame(1, b"%d" % n))
        thread.join()
        if end == "the peer closes":
            connection.sendall(wire.frame(8, b"\x0f\xa0"))
            assert wire.read_close(connection) == (4000, "")
    wait_for(lambda: done)
    assert sorted(chain(*received)) == list(range(MESSAGES))
    assert all(some == sorted(some) for some in received), "each task receives in order"
    assert Counter(arrived) == Counter((n, i) for n, some in enumerate(sent) for i in some)
    for number, some in enumerate(sent):
        assert [n for writer_, n in arrived if writer_ == number] == some, "and sends in order"
        assert len(some) > SENT / 3  # the test would be worth little otherwise
    assert all(not (ws._receivers or ws._senders or ws._lent) for ws in websockets)


def test_what_came_before_a_close_is_given_out_while_tasks_are_cancelled(event_loops, application):
    received = [[] for _ in range(READERS)]
    done = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        await asyncio.sleep(0.05)  # all of it is there, and the close, before anybody receives
        await asyncio.gather(*(reader(ws, into, n) for n, into in enumerate(received)))
        done.append(ws.close_code)

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        frames = [wire.frame(1, b"%d" % n) for n in range(MESSAGES)]
        connection.sendall(b"".join(frames) + wire.frame(8, b"\x03\xe8"))
        wait_for(lambda: done)
    assert sorted(chain(*received)) == list(range(MESSAGES))


def test_a_task_that_closes_among_others_that_wait(event_loops, application):
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 1000
    ends, received = [], []

    @application.route("/ws")
    async def view(ws):
        async def closer():
            await asyncio.sleep(0.2)
            ws.close(4001, "enough")

        async def read():
            while True:
                received.append(await ws.receive())

        readers = [read() for _ in range(READERS)]
        timed = [ws.receive(timeout=60) for _ in range(READERS)]
        writers = [ws.send(bytes(LARGE)) for _ in range(WRITERS)]  # one is lent, the others queue
        ends.extend(await asyncio.gather(*readers, *timed, *writers, closer(), return_exceptions=True))

    with slow_connection(application.serve().port, "/ws") as connection:
        time.sleep(0.3)
        assert wire.read_frame(connection) == (0x82, bytes(LARGE))  # one had begun
        assert wire.read_close(connection) == (4001, "enough")
        wait_for(lambda: ends)
    assert received == []
    assert ends.count(None) == 2  # that one, and the closer
    closed = [end for end in ends if isinstance(end, ConnectionClosed)]
    assert len(closed) == 2 * READERS + WRITERS - 1
    assert {(end.code, end.reason) for end in closed} == {(4001, "enough")}


def test_who_has_called_first_receives_first(event_loops, application):
    order = []

    @application.route("/ws")
    async def view(ws):
        async def one(name, times):
            for _ in range(times):
                order.append((name, await ws.receive()))

        tasks = [asyncio.create_task(one(name, 10)) for name in "abc"]
        await asyncio.sleep(0)
        await ws.send("they wait")
        await asyncio.gather(*tasks)

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        connection.sendall(b"".join(wire.frame(1, b"%d" % n) for n in range(30)))
        wait_for(lambda: len(order) == 30)
        assert wire.read_close(connection) == (1000, "")
    assert order == [("abc"[n % 3], str(n)) for n in range(30)]


def test_a_send_never_overtakes_one_that_waits(event_loops, application):
    """Large ones wait for room; small ones that would fit come after them all the same."""
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 65_536

    @application.route("/ws")
    async def view(ws):
        sizes = [LARGE, 0, 65_536, 10, 200_000, 0] + [1 << 20, 0, 65_536, 10, 200_000, 0] * 7
        tasks = []
        for n, size in enumerate(sizes):
            tasks.append(asyncio.create_task(ws.send(b"%d " % n + bytes(size))))
            if n % 5 == 0:
                await asyncio.sleep(0)
        given_up = tasks[7]
        given_up.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(ends[7], asyncio.CancelledError)
        await ws.send(b"last")

    with slow_connection(application.serve().port, "/ws") as connection:
        time.sleep(0.3)
        numbers = []
        while (payload := wire.read_frame(connection)[1]) != b"last":
            numbers.append(int(payload.split(b" ", 1)[0]))
    assert numbers == [n for n in range(48) if n != 7]


def test_a_send_that_finds_room_waits_for_those_that_have_not_seen_it_yet(event_loops, application):
    """The room comes while the event loop is busy, so that nobody can take it before the next call."""
    waits, read = threading.Event(), threading.Event()

    @application.route("/ws")
    async def view(ws):
        tasks = [asyncio.create_task(ws.send(data)) for data in (bytes(LARGE), b"first")]
        await asyncio.sleep(0.1)
        assert not tasks[1].done()
        waits.set()
        read.wait()
        await ws.send(b"second")
        await asyncio.gather(*tasks)

    with slow_connection(application.serve().port, "/ws") as connection:
        assert waits.wait(10)
        assert len(wire.read_frame(connection)[1]) == LARGE
        (ws,) = application.websockets.connections
        wait_for(lambda: ws.buffered_amount == 0)
        read.set()
        assert [wire.read_frame(connection)[1] for _ in range(2)] == [b"first", b"second"]


def test_loops_over_messages_may_be_left_and_begun_again(event_loops, application):
    got = []

    @application.route("/ws")
    async def view(ws):
        async for data in ws:
            got.append(data)
            break
        async for data in ws.iter_text():
            got.append(data)
            if len(got) == 3:
                break
        async for data in ws.iter_bytes():
            got.append(data)
            break
        async for data in ws.iter_json():
            got.append(data)
        async for _ in ws:
            raise AssertionError("it is closed")

    with wire.connect(application.serve().port, "/ws") as connection:
        for opcode, payload in (
            (1, b"one"), (2, b"passed over"), (1, b"two"), (1, b"three"), (1, b"passed over"),
            (2, b"four"), (1, b"[5]"), (2, b"[6]"), (8, b"\x03\xe8"),
        ):  # fmt: skip
            connection.sendall(wire.frame(opcode, payload))
        wait_for(lambda: len(got) == 6, what=str(got))
    assert got == ["one", "two", "three", b"four", [5], [6]]


def test_a_large_message_is_given_to_one_of_several_that_are_cancelled(event_loops, application):
    """It takes many turns of the event loop to convert it, in which whoever waits for it may go."""
    application.app.config["WEBSOCKETS_MAX_MESSAGE_SIZE"] = 10_000_000
    got = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        while sum(map(len, got)) < 3:
            tasks = [asyncio.ensure_future(ws.receive()) for _ in range(3)]
            await asyncio.wait(tasks, timeout=0.001)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            got.append([end for end in ends if isinstance(end, bytes)])
        got.append(await ws.receive(timeout=0.05))

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        for number in range(3):
            connection.sendall(wire.frame(2, bytes([number]) * 6_000_000))
        assert wire.read_close(connection) == (1000, "")
    assert got.pop() is None
    assert [*chain(*got)] == [bytes([number]) * 6_000_000 for number in range(3)]


@pytest.mark.parametrize("timeout", ["1", [1], float("nan"), -1])
def test_bad_timeouts_are_errors_at_once(event_loops, application, timeout):
    noted = []

    @application.route("/ws")
    async def view(ws):
        try:
            await ws.receive(timeout)
        except (TypeError, ValueError) as error:
            noted.append(str(error))

    with wire.connect(application.serve().port, "/ws") as connection:
        assert wire.read_close(connection) == (1000, "")
    assert "timeout must be " in noted[0]


def test_in_another_event_loop_it_is_refused_in_words(event_loops, application):
    noted = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")

        def elsewhere():
            try:
                asyncio.run(ws.receive())
            except RuntimeError as error:
                noted.append(str(error))

        await asyncio.to_thread(elsewhere)
        noted.append(await ws.receive())

    with wire.connect(application.serve().port, "/ws") as connection:
        wire.read_frame(connection)
        wait_for(lambda: noted)
        connection.sendall(wire.frame(1, b"still served"))
        assert wire.read_close(connection) == (1000, "")
    assert "event loop" in noted[0]
    assert noted[1] == "still served"
