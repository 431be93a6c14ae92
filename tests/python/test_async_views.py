"""Async views: the same websockets, awaited, in one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import flask
import pytest
import websocket
import wire
from conftest import wait_for

from flask_websockets import AsyncWebSocket, ConnectionClosed


def echo_view(application, path="/ws"):
    @application.route(path)
    async def echo(ws):
        async for data in ws:
            await ws.send(data)

    return echo


def test_echo(application):
    echo_view(application)
    client = application.serve().connect("/ws")
    for size in (0, 1, 126, 65536, 1 << 20):
        client.send_binary(b"x" * size)
        assert client.recv() == b"x" * size
    client.send("text")
    assert client.recv() == "text"
    client.close()
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)


def test_what_a_handler_awaits(application):
    @application.route("/ws/<name>")
    async def everything(ws, name):
        assert isinstance(ws, AsyncWebSocket)
        begun = time.monotonic()
        assert await ws.receive(timeout=0.1) is None
        assert 0.09 < time.monotonic() - begun < 0.5
        await ws.send(f"{name} {flask.request.path} {flask.g.user}")
        assert await ws.receive() == "one"
        assert await ws.receive_json() == {"two": 2}
        await ws.send_json([3])
        await ws.send_text("text")
        await ws.send_bytes("bytes")
        assert 0 <= await ws.ping() < 5
        async for data in ws.iter_json():
            await ws.send_json(data)
            break
        async for data in ws.iter_bytes():
            await ws.send(data)

    @application.app.before_request
    def before():
        flask.g.user = "ann"

    client = application.serve().connect("/ws/bob")
    assert client.recv() == "bob /ws/bob ann"
    client.send("one")
    client.send('{"two": 2}')
    assert [client.recv() for _ in range(3)] == ["[3]", "text", b"bytes"]
    assert client.recv_data_frame(control_frame=True)[0] == 9  # answered by the client
    client.send("[4]")
    assert client.recv() == "[4]"
    client.send("passed over by iter_bytes()")
    client.send_binary(b"five")
    assert client.recv() == b"five"


def test_a_thousand_at_once_in_one_thread(application):
    inside = set()

    @application.route("/ws")
    async def meet(ws):
        inside.add(threading.current_thread())
        async for data in ws:
            await asyncio.sleep(0.2)
            await ws.send(data)

    server = application.serve()
    server.connect("/ws")
    before = threading.active_count()
    clients = [server.connect("/ws") for _ in range(300)]
    wait_for(lambda: threading.active_count() <= before)
    begun = time.monotonic()
    for client in clients:
        client.send("x")
    assert [client.recv() for client in clients] == ["x"] * 300
    assert time.monotonic() - begun < 5
    assert [thread.name for thread in inside] == ["ws asyncio"]


def test_channels(application):
    @application.route("/ws")
    async def room(ws):
        with application.websockets.subscribe(ws, "room"):
            await ws.send("in")
            async for data in ws:
                application.websockets.publish(data, "room")

    server = application.serve()
    clients = [server.connect("/ws") for _ in range(3)]
    assert [client.recv() for client in clients] == ["in"] * 3
    clients[0].send("to all")
    assert [client.recv() for client in clients] == ["to all"] * 3


def test_the_handler_decides(application):
    @application.route("/ws/<how>")
    async def decides(ws, how):
        await asyncio.sleep(0.01)
        if how == "abort":
            flask.abort(401)
        if how == "redirect":
            return flask.redirect("/elsewhere", 302)
        if how == "raise":
            raise KeyError("a bug")
        if how == "accept":
            ws.accept(headers={"X-Own": "yes"})
            await ws.send("accepted")
        return None

    server = application.serve()
    for how, status in (("abort", 401), ("raise", 500)):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            server.connect(f"/ws/{how}")
        assert refused.value.status_code == status
    client = server.connect("/ws/accept")
    assert client.headers["x-own"] == "yes"
    assert client.recv() == "accepted"
    assert client.recv_data() == (8, (1000).to_bytes(2, "big"))
    assert server.connect("/ws/nothing").recv_data() == (8, (1000).to_bytes(2, "big"))
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)


def test_one_that_only_sleeps_is_accepted_in_time(application):
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 0.1

    @application.route("/ws")
    async def sleeps(ws):
        await asyncio.sleep(0.5)
        await ws.send("awake")

    begun = time.monotonic()
    client = application.serve().connect("/ws")
    assert time.monotonic() - begun < 0.4
    assert client.recv() == "awake"


def test_the_end(application, caplog):
    noted = []
    variable = contextvars.ContextVar("variable", default=0)

    @application.app.teardown_appcontext
    def teardown(error):
        if "handler" in flask.g:
            noted.append(("teardown", variable.get(), flask.request.path))

    @application.route("/ws/<how>")
    async def ends(ws, how):
        variable.set(1)
        flask.g.handler = True
        try:
            await ws.send("in")
            if how == "raise":
                raise KeyError("a bug")
            if how == "away":
                await asyncio.sleep(60)
            while True:
                await ws.receive()
        except ConnectionClosed as error:
            noted.append(("closed", error.code))
            raise
        except asyncio.CancelledError:
            noted.append(("cancelled", ws.close_code))
            raise
        finally:
            noted.append(("end", flask.request.path))

    server = application.serve()
    for how, expected in (("receive", ("closed", 4001)), ("away", ("cancelled", 4001))):
        client = server.connect(f"/ws/{how}")
        assert client.recv() == "in"
        client.close(4001)
        wait_for(lambda: len(noted) == 3)
        assert noted == [expected, ("end", f"/ws/{how}"), ("teardown", 1, f"/ws/{how}")]
        noted.clear()
        assert caplog.text == ""
    client = server.connect("/ws/raise")
    assert client.recv() == "in"
    assert client.recv_data()[1][:2] == (1011).to_bytes(2, "big")
    wait_for(lambda: len(noted) == 2)
    assert caplog.text.count("KeyError:") == 1


def test_the_server_stops(application):
    codes = []

    @application.route("/ws/<how>")
    async def stays(ws, how):
        try:
            await ws.send("in")
            if how == "receive":
                await ws.receive()
            await asyncio.sleep(60)
        finally:
            codes.append(ws.close_code)

    server = application.serve()
    clients = [server.connect("/ws/receive"), server.connect("/ws/sleep")]
    assert [client.recv() for client in clients] == ["in"] * 2
    threads = [threading.Thread(target=client.recv_data) for client in clients]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    server.app.extensions["flask_websockets.runtime"].shut_down()
    assert time.monotonic() - begun < 1.5
    assert codes == [1001, 1001]
    for thread in threads:
        thread.join()


def test_a_sender_waits_for_a_slow_reader(application):
    application.app.config["WEBSOCKETS_SEND_BUFFER"] = 100_000
    sent = []

    @application.route("/flood")
    async def flood(ws):
        for number in range(16):
            await ws.send(bytes([number]) * (1 << 20))
            sent.append(number)

    echo_view(application)
    server = application.serve()
    client, other = server.connect("/flood"), server.connect("/ws")
    time.sleep(0.3)
    assert len(sent) < 16
    other.send("still there")
    assert other.recv() == "still there"
    for number in range(16):
        assert client.recv() == bytes([number]) * (1 << 20)


def test_two_tasks_wait_for_one_websocket(application):
    """Each message goes to one of them; the other goes on waiting, whatever becomes of the first."""

    @application.route("/ws")
    async def two(ws):
        first, second = (asyncio.ensure_future(ws.receive()) for _ in range(2))
        await asyncio.sleep(0.05)
        await ws.send("both wait")
        await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        waiting, done = (second, first) if first.done() else (first, second)
        cancelled = asyncio.ensure_future(ws.receive())
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.sleep(0.05)
        await ws.send(f"got {done.result()}")
        await ws.send(f"got {await waiting}")

    client = application.serve().connect("/ws")
    assert client.recv() == "both wait"
    client.send("one")
    assert client.recv() == "got one"
    client.send("two")
    assert client.recv() == "got two"


def test_a_task_that_waits_ends_when_another_closes(application):
    ends = []

    @application.route("/ws")
    async def view(ws):
        waiting = [asyncio.ensure_future(ws.receive(timeout)) for timeout in (None, 30)]
        await asyncio.sleep(0.05)
        ws.close(4000)
        ends.extend(await asyncio.gather(*waiting, return_exceptions=True))

    application.serve().connect("/ws")
    wait_for(lambda: len(ends) == 2, 3)
    assert [type(end) for end in ends] == [ConnectionClosed] * 2


def test_bad_arguments(application):
    @application.route("/ws")
    async def bad(ws):
        for call in (ws.send(1), ws.send_text(b"x"), ws.send_bytes(1)):
            try:
                await call
            except TypeError as error:
                await ws.send(str(error))

    client = application.serve().connect("/ws")
    assert "int" in client.recv()
    assert client.recv() == "send_text() takes str, not bytes"
    assert "int" in client.recv()


def test_a_generator_is_no_handler(application):
    async def generator(ws):
        yield 1

    with pytest.raises(TypeError, match="yields nothing"):
        application.route("/ws")(generator)


def test_pings_that_nobody_answers_keep_nobody_waiting(application):
    left = []

    @application.app.teardown_appcontext
    def leave(error):
        if "handler" in flask.g:
            left.append(flask.request.path)

    @application.route("/ping")
    async def ping(ws):
        flask.g.handler = True
        await ws.ping()

    @application.route("/ws")
    async def echo(ws):
        flask.g.handler = True
        async for data in ws:
            await ws.send(data)

    server = application.serve()
    silent = [wire.connect(server.port, "/ping") for _ in range(50)]
    for connection in silent:
        assert wire.read_frame(connection)[0] == 0x89
    client = server.connect("/ws")
    client.send("x")
    assert client.recv() == "x"
    client.close()
    wait_for(lambda: left == ["/ws"], seconds=3)
    for connection in silent:
        connection.close()
    wait_for(lambda: len(left) == 51)


def test_a_handler_that_gathers_ends_with_its_peer(application):
    """One task waits for messages, and takes the notice of the close; the other waits for its queue."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.3
    read = []

    @application.route("/ws")
    async def view(ws):
        queue = asyncio.Queue()

        async def reader():
            async for data in ws:
                await asyncio.sleep(0.01)
                read.append(data)

        async def writer():
            while True:
                await ws.send(await queue.get())

        await asyncio.gather(reader(), writer())

    with wire.connect(application.serve().port, "/ws") as connection:
        for i in range(5):
            connection.sendall(wire.frame(1, b"%d" % i))
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open, 3)
    assert read == list("01234")  # all that had arrived came first


def test_a_task_that_waits_when_the_handler_returns_is_told(application):
    tasks = []

    @application.route("/ws")
    async def view(ws):
        tasks.append(asyncio.create_task(ws.receive()))
        await asyncio.sleep(0.01)

    application.serve().connect("/ws")
    wait_for(lambda: tasks and tasks[0].done(), 3)
    assert isinstance(tasks[0].exception(), ConnectionClosed)


def test_no_thread_for_the_event_loop_is_503_and_later_there_is_one(application, monkeypatch):
    from flask_websockets.handlers import asynchronous

    def no_thread(thread):
        if thread.name == "ws asyncio":
            raise RuntimeError("can't start new thread")
        start(thread)

    echo_view(application)
    server = application.serve()
    start = threading.Thread.start
    loops: dict = {}
    monkeypatch.setattr(asynchronous, "_loops", loops)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            server.connect("/ws")
    assert refused.value.status_code == 503
    client = server.connect("/ws")
    client.send("now")
    assert client.recv() == "now"
    client.close()
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)
    loops["loop"].stop()
    loops["loop"].close()
