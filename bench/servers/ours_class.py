"""Echo by this project's class view on the Werkzeug development server.

ours_class.py PORT [context]
"""

import logging
import sys

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


app.run(host="127.0.0.1", port=int(sys.argv[1]))
