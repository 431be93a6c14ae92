"""Echo by flask-websockets 0.1.2, the older implementation, on the Werkzeug development server."""

import logging
import sys

from flask import Flask

from flask_websockets import WebSockets

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
websockets = WebSockets(app)


@websockets.route("/echo")
def echo(ws) -> None:
    for data in ws.iter_data():
        ws.send(data)


app.run(host="127.0.0.1", port=int(sys.argv[1]))
