"""Echo and a page by flask-sock, for gunicorn."""

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)


@app.get("/")
def page() -> str:
    return "a page"


@sock.route("/echo")
def echo(ws) -> None:
    while True:
        ws.send(ws.receive())
