"""What async views and their tasks raise: it is logged once, and ends nothing else."""

from __future__ import annotations

import asyncio

import flask
import pytest
import wire
from async_loops import CLOSE, check_echo, connect
from async_loops import event_loops as event_loops
from conftest import wait_for

from flask_websockets import ConnectionClosed

ERRORS = {
    "value": ValueError, "exit": SystemExit, "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError, "recursion": RecursionError, "memory": MemoryError,
    "generator": GeneratorExit,
}  # fmt: skip


@pytest.fixture
def raising(application):
    """A view of the application that raises, and what was signalled of it."""
    signalled = []

    @flask.got_request_exception.connect_via(application.app)
    def note(app, exception):
        signalled.append(type(exception))

    @application.route("/ws/<where>/<name>")
    async def view(ws, where, name):
        async def child():
            raise ERRORS[name]("of its own")

        if where == "before":
            await child()
        await ws.send("in")
        if where == "handler":
            await child()
        elif where == "awaited":
            await asyncio.create_task(child())
        elif where == "gathered":
            await asyncio.gather(child(), ws.receive())
        elif where == "callback":
            asyncio.get_running_loop().call_soon(lambda: (_ for _ in ()).throw(ERRORS[name]("x")))
        elif where == "kept":
            view.kept = asyncio.create_task(child())
        else:
            asyncio.create_task(child())  # noqa: RUF006 - forgotten, as happens
        async for data in ws:
            await ws.send(data)

    @application.route("/echo")
    async def echo(ws):
        await ws.send("in")
        async for data in ws:
            await ws.send(data)

    return signalled


@pytest.mark.parametrize("where", ["handler", "awaited", "gathered"])
@pytest.mark.parametrize("name", ERRORS)
def test_whatever_a_handler_raises_is_logged_once_and_ends_it_alone(
    event_loops, application, raising, caplog, where, name
):
    with connect(application, "/echo") as other, connect(application, f"/ws/{where}/{name}") as one:
        thread = event_loops["loop"].thread
        assert wire.read_close(one)[0] == 1011
        check_echo(other)
        assert event_loops["loop"].thread is thread and thread.is_alive()
    wait_for(lambda: not event_loops["loop"].handlers)
    assert raising == [ERRORS[name]]
    assert [record.exc_info[0] for record in caplog.records] == [ERRORS[name]]


@pytest.mark.parametrize("name", ["value", "exit", "interrupt", "memory"])
@pytest.mark.parametrize("where", ["forgotten", "callback"])
def test_what_a_task_of_its_raises_is_logged_once_and_ends_nothing(
    event_loops, application, raising, caplog, where, name
):
    check_that_it_ends_nothing(event_loops, application, raising, caplog, where, name)


@pytest.mark.parametrize("name", ["exit", "interrupt"])
def test_what_comes_out_of_the_event_loop_is_logged_at_once(
    event_loops, application, raising, caplog, name
):
    """Also when somebody may await the task that has raised it yet."""
    check_that_it_ends_nothing(event_loops, application, raising, caplog, "kept", name)


@pytest.mark.skipif(not hasattr(asyncio.Task, "get_context"), reason="a task does not tell its context")
def test_receivers_of_the_signal_see_the_request_of_a_task(event_loops, application, raising):
    paths = []

    @flask.got_request_exception.connect_via(application.app)
    def note(app, exception):
        paths.append(flask.request.path)

    with connect(application, "/ws/forgotten/value"):
        wait_for(lambda: paths == ["/ws/forgotten/value"])


def check_that_it_ends_nothing(event_loops, application, raising, caplog, where, name):
    with connect(application, "/echo") as other, connect(application, f"/ws/{where}/{name}") as one:
        check_echo(one)
        check_echo(other)
        wait_for(lambda: raising)
    assert raising == [ERRORS[name]]
    assert [record.exc_info[0] for record in caplog.records] == [ERRORS[name]]
    assert caplog.records[0].name == application.app.logger.name


@pytest.mark.parametrize("name", ["value", "exit", "cancelled"])
def test_what_is_raised_before_the_handshake_is_answered_is_a_500(
    event_loops, application, raising, caplog, name
):
    with connect(application, "/echo") as other:
        with pytest.raises(AssertionError, match="500"):
            wire.connect(application.server.port, f"/ws/before/{name}")
        check_echo(other)
    assert raising == [ERRORS[name]]
    assert [record.exc_info[0] for record in caplog.records] == [ERRORS[name]]


def test_a_loop_that_is_stopped_goes_on(event_loops, application, caplog):
    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        async for data in ws:
            asyncio.get_running_loop().stop()
            await ws.send(data)

    with connect(application, "/ws") as connection:
        check_echo(connection)
        check_echo(connection)
        wait_for(lambda: "has stopped the event loop" in caplog.text)
        check_echo(connection)


def test_a_peer_that_leaves_is_no_exception(event_loops, application, raising, caplog):
    """Nor in groups, nor in tasks that nobody awaits."""

    @application.route("/group")
    async def group(ws):
        await ws.send("in")

        async def read():
            while True:
                await ws.receive()

        if hasattr(asyncio, "TaskGroup"):
            async with asyncio.TaskGroup() as outer:
                outer.create_task(read())
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(read())
                    inner.create_task(read())
        await asyncio.gather(read(), read())

    @application.route("/forgotten")
    async def forgotten(ws):
        await ws.send("in")
        asyncio.create_task(ws.receive())  # noqa: RUF006
        await ws.receive()

    @application.route("/clean")
    async def clean(ws):
        """Cancels its child, and awaits it without a thought."""
        child = asyncio.create_task(asyncio.sleep(60))
        try:
            await ws.send("in")
            await ws.receive()
        finally:
            child.cancel()
            await child

    for path in ("/group", "/forgotten", "/clean"):
        for goodbye in (CLOSE, b""):
            with connect(application, path) as connection:
                connection.sendall(goodbye)
            wait_for(lambda: not event_loops["loop"].handlers)
    assert raising == []
    assert caplog.text == ""


def test_another_websocket_that_has_closed_is_an_exception(event_loops, application, raising, caplog):
    lobby = []

    @application.route("/lobby")
    async def wait(ws):
        lobby.append(ws)
        await ws.send("in")
        async for _ in ws:
            pass

    @application.route("/ws")
    async def greets(ws):
        await ws.send("in")
        await ws.receive()
        await lobby[0].send("hello")

    with connect(application, "/ws") as connection:
        connect(application, "/lobby").close()
        wait_for(lambda: lobby[0].closed)
        connection.sendall(wire.frame(1, b"go"))
        assert wire.read_close(connection)[0] == 1011
    wait_for(lambda: raising == [ConnectionClosed])
    assert caplog.text.count("ConnectionClosed") >= 1
