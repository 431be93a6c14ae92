"""Echo by flask-sock on the Werkzeug development server."""

import logging
import sys

import certificate
from flask import Flask
from flask_sock import Sock

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
sock = Sock(app)


@sock.route("/echo")
def echo(ws) -> None:
    while True:
        ws.send(ws.receive())


app.run(host="127.0.0.1", port=int(sys.argv[1]), ssl_context=certificate.context())
