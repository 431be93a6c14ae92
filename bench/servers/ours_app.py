"""Echo and a page by this project, for gunicorn."""

from flask import Flask

from flask_websockets import WebSocket, WebSockets

app = Flask(__name__)
websockets = WebSockets(app)


@app.get("/")
def page() -> str:
    return "a page"


@websockets.route("/echo")
def echo(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)
