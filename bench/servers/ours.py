"""Echo by this project's blocking view on the Werkzeug development server."""

import logging
import sys

from flask import Flask

from flask_websockets import WebSocket, WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)


@websockets.route("/echo")
def echo(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)


app.run(host="127.0.0.1", port=int(sys.argv[1]))
