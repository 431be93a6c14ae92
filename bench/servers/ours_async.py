"""Echo by this project's async view on the Werkzeug development server.

ours_async.py PORT [FOLDER]

FOLDER: where uvloop is found, if it is nowhere else.
"""

import logging
import sys

from flask import Flask

from flask_websockets import AsyncWebSocket, WebSockets

sys.path += sys.argv[2:]
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)


@websockets.route("/echo")
async def echo(ws: AsyncWebSocket) -> None:
    async for data in ws:
        await ws.send(data)


app.run(host="127.0.0.1", port=int(sys.argv[1]))
