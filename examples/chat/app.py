"""A chat with rooms and a server clock, on one page: http://localhost:6969.

Everything here is the public API of flask-websockets and plain Flask; the page uses the browser's own
WebSocket. Start it with `make demo`, or `python examples/chat/app.py`.
"""

from __future__ import annotations

import time
from threading import Lock, Thread
from typing import Any

from flask import Flask, render_template, request

from flask_websockets import WebSocket, WebSockets

PORT = 6969
NAME_MAX = 24  # characters
TEXT_MAX = 2000  # characters
ROOMS = ("lobby", "music", "travel", "code")

app = Flask(__name__)
websockets = WebSockets(app)

members: dict[str, dict[str, str]] = {}  # room -> id of the websocket -> name
members_lock = Lock()


@app.route("/")
def index() -> str:
    return render_template("index.html", rooms=ROOMS, name_max=NAME_MAX, text_max=TEXT_MAX)


def tell(room: str, **message: Any) -> None:
    websockets.publish({"at": time.time(), **message}, f"room:{room}", encode_json=True)


def tell_members(room: str) -> None:
    with members_lock:
        names = sorted(members.get(room, {}).values(), key=str.lower)
    tell(room, type="members", names=names)


@websockets.route("/chat/<room>")
def chat(ws: WebSocket, room: str) -> Any:
    name = request.args.get("name", "").strip()[:NAME_MAX]
    if room not in ROOMS or not name:
        return "Choose a room of the list, and a name.", 400
    with websockets.subscribe(ws, f"room:{room}"):
        with members_lock:
            members.setdefault(room, {})[ws.id] = name
        tell_members(room)
        tell(room, type="joined", name=name)
        try:
            for text in ws.iter_text():
                if text.strip():
                    tell(room, type="said", name=name, text=text[:TEXT_MAX], by=ws.id)
        finally:
            with members_lock:
                del members[room][ws.id]
            tell_members(room)
            tell(room, type="left", name=name)
    return None


@websockets.route("/clock")
def clock(ws: WebSocket) -> None:
    with websockets.subscribe(ws, "clock"):
        for _ in ws.iter_data():  # until the browser leaves
            pass


def tick() -> None:
    while True:
        now = time.time()
        stats = websockets.stats()
        websockets.publish(
            {"now": now, "connections": stats["connections"], "messages": stats["messages_out"]},
            "clock",
            encode_json=True,
        )
        time.sleep(1 - now % 1)


if __name__ == "__main__":
    Thread(target=tick, daemon=True).start()
    print(f"\n  Open http://localhost:{PORT} in a browser, or in two.\n", flush=True)
    app.run(host="localhost", port=PORT)
