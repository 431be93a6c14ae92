"""Echo by this project's class view on the Werkzeug development server; at /all what one sends goes to
all, /sleep keeps its answer for a second, /ask for 5 ms after it has computed a little, and at /mixed
who asks for it has "compute" or "wait" done before the answer, for so many milliseconds.

ours_class.py PORT [context]
"""

import logging
import sys
import time

import certificate
from flask import Flask

from flask_websockets import WebSocket, WebSockets, WebSocketView

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)


@websockets.route("/echo")
class Echo(WebSocketView):
    context = sys.argv[2] if len(sys.argv) > 2 else "request"

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send(data)


@websockets.route("/all")
class Everybody(WebSocketView):
    def on_open(self, ws: WebSocket) -> None:
        websockets.subscribe(ws, "everybody")

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        websockets.publish(data, "everybody")


@websockets.route("/sleep")
class Sleeps(WebSocketView):
    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        time.sleep(1)
        ws.send(data)


@websockets.route("/ask")
class Asks(WebSocketView):
    """As one that asks a database."""

    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        sum(range(10000))
        time.sleep(0.005)
        ws.send(data)


@websockets.route("/mixed")
class Mixed(WebSocketView):
    def on_message(self, ws: WebSocket, data: str | bytes) -> None:
        what, _, milliseconds = data.partition(" ") if isinstance(data, str) else ("", "", "")
        if what == "compute":
            end = time.thread_time() + int(milliseconds) / 1000
            while time.thread_time() < end:
                pass
        elif what == "wait":
            time.sleep(int(milliseconds) / 1000)
        ws.send(data)


app.run(host="127.0.0.1", port=int(sys.argv[1]), ssl_context=certificate.context())
