"""Echo by this project's async view on the Werkzeug development server."""

import logging
import sys

from flask import Flask

from flask_websockets import AsyncWebSocket, WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)


@websockets.route("/echo")
async def echo(ws: AsyncWebSocket) -> None:
    async for data in ws:
        await ws.send(data)


app.run(host="127.0.0.1", port=int(sys.argv[1]))
