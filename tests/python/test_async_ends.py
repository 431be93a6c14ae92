"""How async views end: by themselves, because the peer leaves, because the server stops."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
import sys
import threading
import time

import flask
import pytest
import wire
from async_loops import CLOSE, check_echo, connect
from async_loops import event_loops as event_loops
from conftest import wait_for

from flask_websockets import ConnectionClosed

# ---- the peer leaves ----


def test_what_it_saves_when_its_peer_leaves_is_not_cut_short(event_loops, application, caplog):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.6
    ends = []

    @application.route("/ws/<how>")
    async def view(ws, how):
        await ws.send("in")
        try:
            if how == "at-it":
                await ws.receive()
                await asyncio.sleep(0.5)
                ends.append(how)
            else:
                async for _ in ws:
                    pass
        finally:
            if how != "at-it":
                await asyncio.to_thread(time.sleep, 0.5)
                ends.append(how)

    for how in ("at-it", "in-finally"):
        with connect(application, f"/ws/{how}") as connection:
            connection.sendall(wire.frame(1, b"order") + CLOSE)
            wait_for(lambda how=how: how in ends, 3)
    assert caplog.text == ""


def test_what_arrived_is_given_out_however_long_that_takes(event_loops, application):
    """The time to end begins anew with each message that is taken."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.2
    got, ends = [], []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        try:
            async for data in ws:
                await asyncio.sleep(0.1)
                got.append(data)
            await asyncio.sleep(60)
        finally:
            ends.append(len(got))

    with connect(application, "/ws") as connection:
        connection.sendall(b"".join(wire.frame(1, b"%d" % n) for n in range(10)) + CLOSE)
        wait_for(lambda: ends)
    assert ends == [10]


@pytest.mark.parametrize("where", ["event", "queue", "gather", "task", "wait", "group", "sleep"])
def test_one_that_is_at_something_else_when_its_peer_leaves_ends(event_loops, application, where):
    """After half of the time where it merely waits for other tasks."""
    if where == "group" and sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no task groups")
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = timeout = 1.0
    ends = []

    @application.route("/ws")
    async def view(ws):
        async def read():
            async for _ in ws:
                pass

        async def wait():
            await asyncio.Event().wait()

        await ws.send("in")
        try:
            if where == "event":
                await wait()
            elif where == "queue":
                reading = asyncio.create_task(read())
                await asyncio.Queue().get()
                await reading
            elif where == "gather":
                await asyncio.gather(read(), wait())
            elif where == "task":
                await asyncio.create_task(wait())
            elif where == "wait":
                await asyncio.wait([asyncio.create_task(wait()), asyncio.create_task(read())])
            elif where == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(read())
                    group.create_task(wait())
            else:
                await asyncio.sleep(60)
        finally:
            ends.append(time.monotonic())
            if where == "wait":  # which does not cancel what it waits for
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()

    with connect(application, "/ws") as connection:
        connection.sendall(CLOSE)
        begun = time.monotonic()
        wait_for(lambda: ends)
    took = ends[0] - begun
    assert timeout / 2 - 0.01 <= took
    if where == "sleep":
        assert timeout - 0.01 <= took


def test_its_own_close_cancels_it_neither_then_nor_later(event_loops, application):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.2
    ends = []

    @application.route("/ws/<how>")
    async def view(ws, how):
        await ws.send("in")
        if how == "child":
            await asyncio.create_task(asyncio.to_thread(ws.close, 4001))
        elif how == "itself":
            ws.close(4001)
        try:
            await asyncio.sleep(0.8)
            ends.append(how)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    for how in ("itself", "child"):
        with connect(application, f"/ws/{how}") as connection:
            assert wire.read_close(connection)[0] == 4001
            connection.sendall(wire.frame(8, b"\x0f\xa1"))
            wait_for(lambda how=how: ends == [how])
            ends.clear()
    with connect(application, "/ws/no"):  # but when somebody else closes it
        for ws in application.websockets.connections:
            ws.close(4002)
        wait_for(lambda: ends == ["cancelled"])


def test_one_that_goes_on_after_it_was_cancelled_is_cancelled_again(event_loops, application, caplog):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.1
    ends = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        for _ in range(2):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ends.append("cancelled")

    with connect(application, "/ws") as connection:
        connection.sendall(CLOSE)
        wait_for(lambda: len(ends) == 2)
    assert "view goes on" in caplog.text


def test_one_whose_handshake_was_refused_meanwhile_ends(event_loops, application):
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 0.2
    application.app.config["WEBSOCKETS_HANDSHAKE_TIMEOUT"] = 0.3
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 60
    ends = []

    @application.route("/ws")
    async def view(ws):
        try:
            await asyncio.sleep(60)
        finally:
            ends.append(threading.current_thread().name)

    with pytest.raises(AssertionError, match="503"):
        wire.connect(application.serve().port, "/ws")
    wait_for(lambda: ends == ["ws asyncio"])


# ---- the server stops ----


def test_the_server_stops_and_what_cleans_up_runs_to_its_end(event_loops, application):
    """Whatever it awaits, and wherever the handler is."""
    application.app.config["WEBSOCKETS_CLOSE_TIMEOUT"] = 2
    ends = []

    async def clean_up(ws, how):
        application.websockets.publish(how, "room")
        await asyncio.to_thread(time.sleep, 0.05)
        await asyncio.wait_for(asyncio.sleep(0.3), 10)
        await asyncio.gather(asyncio.create_task(asyncio.sleep(0.3)), asyncio.sleep(0.1))
        ends.append((how, ws.close_code))

    @application.route("/ws/<how>")
    async def view(ws, how):
        await ws.send("in")

        async def read():
            async for _ in ws:
                pass

        try:
            if how == "receives":
                await read()
            elif how == "elsewhere":
                await asyncio.sleep(60)
            elif how == "gathers":
                await asyncio.gather(read(), asyncio.Event().wait())
            else:
                ws.close(4001)
                await asyncio.sleep(60)
        finally:
            await clean_up(ws, how)

    hows = ["closed", "elsewhere", "gathers", "receives"]
    connections = [connect(application, f"/ws/{how}") for how in hows]
    application.app.extensions["flask_websockets.runtime"].shut_down()
    assert sorted(ends) == [(how, 4001 if how == "closed" else 1001) for how in hows]
    for connection in connections:
        assert wire.read_close(connection)[0] in (1001, 4001)
        connection.close()


# ---- contexts and teardown ----


def test_teardown_runs_in_the_thread_of_the_handler(event_loops, application, caplog):
    """So it may close what belongs to that thread. The handshake's own comes first, in the server's."""
    closed = []

    @application.app.teardown_appcontext
    def close(error):
        database = flask.g.pop("database", None)
        if database is not None:
            database.close()  # raises in any other thread
        closed.append((threading.current_thread().name, database is not None))

    @application.route("/ws/<how>")
    async def view(ws, how):
        if how == "refuse":
            flask.abort(403)
        flask.g.database = sqlite3.connect(":memory:")
        await ws.send("in")
        async for _ in ws:
            flask.g.database.execute("select 1")

    with connect(application, "/ws/accept") as connection:
        connection.sendall(wire.frame(1, b"x") + CLOSE)
        wait_for(lambda: len(closed) == 2)
    assert closed.pop() == ("ws asyncio", True)
    ((name, had_database),) = closed
    assert name != "ws asyncio" and not had_database
    with pytest.raises(AssertionError, match="403"):
        wire.connect(application.server.port, "/ws/refuse")
    wait_for(lambda: len(closed) == 3)
    assert {has for _, has in closed} == {False}
    assert caplog.text == ""


def test_a_teardown_function_that_raises_anything_ends_nothing(event_loops, application, caplog):
    @application.app.teardown_appcontext
    def close(error):
        if threading.current_thread().name == "ws asyncio":
            raise SystemExit("of teardown")

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")
        async for data in ws:
            await ws.send(data)

    with connect(application, "/ws") as other:
        with connect(application, "/ws") as connection:
            connection.sendall(CLOSE)
            wait_for(lambda: "of teardown" in caplog.text)
        check_echo(other)
        (error,) = (record.exc_info[1] for record in caplog.records)
        # Flask 3.2 gives what all of the functions have raised, as one group.
        assert [type(one) for one in getattr(error, "exceptions", [error])] == [SystemExit]
    wait_for(lambda: not application.app.extensions["flask_websockets.runtime"]._open)


def test_context_variables_are_those_of_the_request(event_loops, application):
    variable = contextvars.ContextVar("variable", default="nobody")
    seen = []

    @application.app.before_request
    def before():
        variable.set(flask.request.args["user"])

    @application.route("/ws")
    async def view(ws):
        async def child():
            return variable.get(), flask.request.args["user"]

        await ws.send("in")
        before = variable.get()
        variable.set(f"{before}, changed")
        seen.append((before, *await asyncio.create_task(child())))

    for user in ("ann", "bob"):
        connect(application, f"/ws?user={user}").close()
        wait_for(lambda user=user: any(one[0] == user for one in seen))
    assert seen == [("ann", "ann, changed", "ann"), ("bob", "bob, changed", "bob")]


def test_a_task_that_outlives_its_handler_goes_on(event_loops, application):
    noted = []

    @application.route("/ws")
    async def view(ws):
        await ws.send("in")

        async def outlives():
            try:
                await ws.receive()
            except ConnectionClosed:
                await asyncio.sleep(0.1)
                noted.append(flask.request.path)

        view.task = asyncio.create_task(outlives())
        await asyncio.sleep(0)

    with connect(application, "/ws") as connection:
        assert wire.read_close(connection)[0] == 1000
        wait_for(lambda: noted == ["/ws"])
