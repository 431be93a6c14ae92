"""Channels of this project on the Werkzeug development server, timed from within.

ours_channels.py PORT

What connects to /everybody is subscribed to one channel; /member/NAME is subscribed by commands; /echo
answers. /measure takes commands, objects of JSON, each with "do", and answers with one of nanoseconds.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_websockets import WebSocket, WebSockets, WebSocketView

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
app.config["WEBSOCKETS_PING_INTERVAL"] = None  # what measures reads nothing but messages
websockets = WebSockets(app)
members: dict[str, WebSocket] = {}


@websockets.route("/everybody")
class Everybody(WebSocketView):
    context = "app"

    def on_open(self, ws: WebSocket) -> None:
        websockets.subscribe(ws, "everybody")

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        pass


@websockets.route("/member/<name>")
class Member(WebSocketView):
    def on_open(self, ws: WebSocket, name: str) -> None:
        members[name] = ws

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send(data)


@websockets.route("/echo")
class Echo(WebSocketView):
    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send(data)


def publish(channel: str, count: int, interval: float) -> dict[str, list[int]]:
    """What each call takes, and how many subscribers it says that there are."""
    times, subscribers = [], []
    for _ in range(count):
        data = time.monotonic_ns().to_bytes(32, "big")  # when it was published
        begun = time.monotonic_ns()
        count_now = websockets.publish(data, channel)
        times.append(time.monotonic_ns() - begun)
        subscribers.append(count_now)
        time.sleep(interval)
    return {"times": times, "subscribers": subscribers}


def in_background(work: Callable[[], Any]) -> Any:
    """The same in a thread that is no handler's."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]


def change(
    function: Callable[[WebSocket, list[str]], object], name: str, room: str, count: int
) -> dict[str, int]:
    """Subscribe a member to so many channels, or unsubscribe it."""
    names = [f"{room}/{number}" for number in range(count)]
    begun = time.monotonic_ns()
    function(members[name], names)
    return {"time": time.monotonic_ns() - begun}


def left(room: str, count: int, others: int) -> dict[str, int]:
    """Until a member, whose client leaves now, is in the last channel no more, and only others are."""
    begun = time.monotonic_ns()
    while websockets.publish(b"", f"{room}/{count - 1}") > others:
        time.sleep(0.0001)
    return {"time": time.monotonic_ns() - begun}


@websockets.route("/measure")
def measure(ws: WebSocket) -> None:
    for text in ws.iter_text():
        command = json.loads(text)
        do, *arguments = command["do"], *command["with"]
        if do == "publish":
            result: Any = publish(*arguments)
        elif do == "publish in background":
            result = in_background(lambda arguments=arguments: publish(*arguments))
        elif do == "subscribe":
            result = change(websockets.subscribe, *arguments)
        elif do == "unsubscribe":
            result = change(websockets.unsubscribe, *arguments)
        else:
            result = left(*arguments)
        ws.send_json(result)


app.run(host="127.0.0.1", port=int(sys.argv[1]))
