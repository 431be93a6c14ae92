"""The handshake of an async view is answered by the server's thread, while the event loop goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest
import wire
from conftest import wait_for


@pytest.fixture
def slow(application):
    """The after_request functions wait, for those that ask for it."""
    application.threads = []
    application.inside, application.release = threading.Event(), threading.Event()

    @application.app.after_request
    def after(response):
        import flask

        application.threads.append(threading.current_thread().name)
        if "slow" in flask.request.args:
            application.inside.set()
            application.release.wait(10)
        return response

    yield application
    application.release.set()


def test_after_request_holds_up_no_other_coroutine(slow):
    @slow.route("/ws")
    async def echo(ws):
        async for data in ws:
            await ws.send(data)

    client = slow.serve().connect("/ws")
    thread = threading.Thread(target=slow.server.connect, args=("/ws?slow=1",))
    thread.start()
    assert slow.inside.wait(10)
    client.send("meanwhile")
    assert client.recv() == "meanwhile"
    slow.release.set()
    thread.join()
    assert len(slow.threads) == 2 and not any("ws asyncio" in name for name in slow.threads)


def test_what_is_sent_and_received_before_the_answer_keeps_its_order(slow):
    """Also beside tasks whose first step comes between the answer and those that have waited for it."""
    received = []

    @slow.route("/ws")
    async def view(ws):
        async def take(number):
            received.append((number, await ws.receive()))

        tasks = []
        for number in range(300):
            tasks.append(asyncio.ensure_future(ws.send(str(number))))
            tasks.append(asyncio.ensure_future(take(number)))
            if number % 3 == 0:
                await asyncio.sleep(0)
            if number == 5:
                slow.release.set()
        await asyncio.gather(*tasks)

    with wire.connect(slow.serve().port, "/ws?slow=1") as connection:
        sent = [wire.read_frame(connection)[1] for _ in range(300)]
        assert sent == [b"%d" % number for number in range(300)]
        connection.sendall(b"".join(wire.frame(1, b"%d" % number) for number in range(300)))
        wait_for(lambda: len(received) == 300)
    assert received == [(number, str(number)) for number in range(300)]


def test_a_task_that_waits_for_the_answer_may_be_cancelled(slow):
    ends = []

    @slow.route("/ws")
    async def view(ws):
        waiting = [asyncio.ensure_future(ws.receive()) for _ in range(3)]
        while not slow.inside.is_set():
            await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        slow.release.set()
        ends.extend([waiting[0].cancelled(), await waiting[1], await waiting[2]])

    client = slow.serve().connect("/ws?slow=1")
    client.send("one")
    client.send("two")
    wait_for(lambda: ends)
    assert ends == [True, "one", "two"]
