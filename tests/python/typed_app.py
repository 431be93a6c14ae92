"""An application as a user annotates it; type checkers accept it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response
from flask.typing import ResponseReturnValue

from flask_websockets import (
    AsyncWebSocket,
    ConnectionClosed,
    Subscription,
    WebSocket,
    WebSockets,
    WebSocketView,
)

app = Flask(__name__)
websockets = WebSockets(app)
part = Blueprint("part", __name__)


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    return view


@websockets.route("/none")
class Silent(WebSocketView):
    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send(data)


@websockets.route("/room/<name>/<int:number>", part, decorators=[login_required])
class Room(WebSocketView):
    decorators = [login_required]  # noqa: RUF012 - as it is written for Flask's own class views
    context = "app"

    def on_open(self, ws: WebSocket, name: str, number: int) -> ResponseReturnValue | None:
        websockets.subscribe(ws, f"room/{name}")
        return None if number else Response(status=403)

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        websockets.publish(data, ws.channels)

    def on_close(self, ws: WebSocket, code: int, reason: str) -> None:
        print(code + 1, reason.upper())


class Lobby(Room):
    def on_open(self, ws: WebSocket, *args: Any, **values: Any) -> None:
        super().on_open(ws, "lobby", 1)


@websockets.route("/both/<name>", defaults={"name": "x"})
def both(ws: WebSocket, name: str) -> None:
    with websockets.subscribe(ws, ["a", name]) as subscription:
        names: tuple[str, ...] = subscription.channels
        for text in ws.iter_text():
            ws.send_text(text.upper())
        print(names)


@websockets.route("/async")
async def echo(ws: AsyncWebSocket) -> None:
    try:
        async for data in ws:
            await ws.send(data)
    except ConnectionClosed as error:
        print(error.code + 1)


def factory() -> Flask:
    own: Flask | None = websockets.app
    blueprint: Blueprint | None = websockets.bp
    print(own, blueprint, Subscription)
    websockets.init_app(app)
    return app
