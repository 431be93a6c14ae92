"""An application behind a proxy, as docs/deploy says."""

import os

import flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_websockets import WebSockets

app = flask.Flask(__name__)
app.config["WEBSOCKETS_PING_INTERVAL"] = float(os.environ["PING_INTERVAL"])
websockets = WebSockets(app)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_prefix=int(os.environ["PREFIXES"]))


@app.get("/")
def page():
    return "a page"


@app.get("/urls")
def urls():
    return flask.jsonify([flask.url_for("page"), flask.url_for("echo"), flask.url_for("who")])


@websockets.route("/echo")
def echo(ws):
    for data in ws.iter_data():
        ws.send(data)


@websockets.route("/who")
def who(ws):
    ws.send_json([ws.remote_addr, flask.request.host, flask.request.scheme])
