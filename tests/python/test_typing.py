"""What a type checker says of an application: both kinds of websocket are taken, and not confused."""

from __future__ import annotations

import pytest

api = pytest.importorskip("mypy.api")

PROGRAM = """
from flask import Flask
from flask_websockets import AsyncWebSocket, WebSocket, WebSockets

websockets = WebSockets(Flask(__name__))

@websockets.route("/async")
async def awaits(ws: AsyncWebSocket) -> None:
    with websockets.subscribe(ws, "room"):
        async for data in ws:
            websockets.publish(data, "room", exclude=ws)
        text: str = await ws.receive(1.0)
        await ws.send(text)

@websockets.route("/blocking")
def waits(ws: WebSocket) -> None:
    websockets.subscribe(ws, "room")
    for text in ws.iter_text():
        websockets.publish(text, ["room"], exclude=[ws])
        ws.send(text)
    websockets.unsubscribe(ws)

for one in websockets.connections:
    one.close(1001)
"""

CONFUSED = """
def greet(ws: WebSocket) -> None:
    ws.send("hello")

async def wrong(ws: AsyncWebSocket) -> None:
    greet(ws)
    for data in ws:
        pass
"""


def errors(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    said, _, _ = api.run(["--strict", "--no-incremental", "--cache-dir", str(tmp_path), str(path)])
    return [line for line in said.splitlines() if "error:" in line]


def test_an_application_with_both_kinds_is_right(tmp_path):
    assert errors(tmp_path, PROGRAM) == []


def test_one_kind_in_place_of_the_other_is_an_error(tmp_path):
    """Its coroutine would never be awaited."""
    first, second = errors(tmp_path, PROGRAM + CONFUSED)
    assert "AsyncWebSocket" in first and "WebSocket" in first
    assert "__iter__" in second
