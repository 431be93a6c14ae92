"""WebSockets for Flask, with protocol, I/O engine and channel hub in C.

from flask import Flask
from flask_websockets import WebSocket, WebSockets

app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/echo")
def echo(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)
"""

from .async_websocket import AsyncWebSocket
from .errors import ConfigurationError, ConnectionClosed, InvalidMessage
from .extension import Subscription, WebSockets
from .views.class_view import WebSocketView
from .websocket import WebSocket, WebSocketState

__all__ = (
    "AsyncWebSocket",
    "ConfigurationError",
    "ConnectionClosed",
    "InvalidMessage",
    "Subscription",
    "WebSocket",
    "WebSocketState",
    "WebSocketView",
    "WebSockets",
)
