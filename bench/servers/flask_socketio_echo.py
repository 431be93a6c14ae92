"""Echo by Flask-SocketIO on the Werkzeug development server: events of Socket.IO, a thread each."""

import logging
import sys

from flask import Flask
from flask_socketio import SocketIO, emit

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading", logger=False, engineio_logger=False)


@socketio.on("m")
def echo(data: str) -> None:
    emit("m", data)


socketio.run(app, host="127.0.0.1", port=int(sys.argv[1]), allow_unsafe_werkzeug=True)
