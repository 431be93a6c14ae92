"""The opening handshake: what is refused, with which answer, and what the handler may still decide."""

from __future__ import annotations

import base64
import errno
import logging
import os
import threading
import time

import flask
import pytest
import websocket
from conftest import wait_for

from flask_websockets import WebSocketView

GOOD = {
    "Host": "example.com",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def handshake(line: str = "GET /ws HTTP/1.1", **changes: str | None) -> str:
    headers = dict(GOOD)
    for name, value in changes.items():
        name = name.replace("_", "-")
        headers.pop(name, None)
        if value is not None:
            headers[name] = value
    return line + "\n" + "".join(f"{k}: {v}\n" for k, v in headers.items()) + "\n"


@pytest.fixture
def server(application):
    @application.route("/ws")
    def ws_(ws):
        pass

    @application.app.route("/page")
    def page():
        return "an ordinary page"

    return application.serve()


def connects(server) -> bool:
    try:
        server.connect("/ws")
    except websocket.WebSocketBadStatusException as error:
        assert error.status_code == 503
        return False
    return True


def split(answer: bytes) -> tuple[int, dict[str, str], str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in rest)}
    return int(first.split()[1]), headers, body.decode(errors="replace")


def test_the_example_of_the_rfc(server):
    status, headers, _rest = split(server.request(handshake()))
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["upgrade"] == "websocket" and headers["connection"] == "Upgrade"
    assert "sec-websocket-extensions" not in headers


@pytest.mark.parametrize(
    ("request_text", "status", "hint"),
    [
        (handshake(Upgrade=None, Connection=None), 426, "new WebSocket("),
        (handshake(Sec_WebSocket_Version="8"), 426, "version 13"),
        (handshake(Sec_WebSocket_Version=None), 426, "version 13"),
        (handshake(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key header is missing"),
        (handshake(Sec_WebSocket_Key="short"), 400, "base64 form of 16 bytes"),
        (handshake(Sec_WebSocket_Key="*" * 24), 400, "base64 form of 16 bytes"),
        (handshake("POST /ws HTTP/1.1", Content_Length="0"), 405, ""),
        (handshake("GET /ws HTTP/1.0"), 400, "needs HTTP/1.1"),
        (handshake(Connection="keep-alive"), 400, "Connection header"),
        (handshake(Origin="https://evil.example"), 403, "WEBSOCKETS_ALLOWED_ORIGINS"),
        (handshake(Origin="null"), 403, "may not connect"),
        (handshake(Sec_WebSocket_Protocol="a b"), 400, "list of tokens"),
        (handshake("GET /page HTTP/1.1"), 400, "ordinary page"),
        (handshake("GET /nowhere HTTP/1.1"), 404, ""),
    ],
)
def test_what_is_refused_and_how(server, request_text, status, hint):
    got, headers, body = split(server.request(request_text))
    assert (got, hint in body) == (status, True), body
    if status == 426:
        assert headers["sec-websocket-version"] == "13" and headers["upgrade"] == "websocket"
    if status == 405:
        assert "GET" in headers["allow"]


def test_an_ordinary_page_beside_it(server):
    assert split(server.request("GET /page HTTP/1.1\nHost: x\n\n"))[2] == "an ordinary page"


@pytest.mark.parametrize("origin", ["http://example.com", "https://example.com", "HTTP://EXAMPLE.COM"])
def test_the_pages_own_host_may_connect(server, origin):
    assert split(server.request(handshake(Origin=origin)))[0] == 101


def test_bytes_sent_together_with_the_handshake_are_not_lost(application):
    @application.route("/ws")
    def echo(ws):
        for data in ws.iter_data():
            ws.send(data)

    server = application.serve()
    frames = "\x81\x82\0\0\0\0hi\x88\x80\0\0\0\0"
    answer = server.request(handshake() + frames)
    assert answer.endswith(b"\x81\x02hi\x88\x00")


def test_abort_redirect_and_responses_reach_the_client_as_http(application):
    @application.route("/abort")
    def aborts(ws):
        flask.abort(401)

    @application.route("/redirect")
    def redirects(ws):
        return flask.redirect("/login", 302)

    @application.route("/response")
    def responds(ws):
        flask.session["seen"] = True
        return flask.make_response(("no tea", 418, {"X-Tea": "none"}))

    application.app.secret_key = "s"
    server = application.serve()
    for path, status in (("/abort", 401), ("/redirect", 302), ("/response", 418)):
        got, headers, body = split(server.request(handshake(f"GET {path} HTTP/1.1")))
        assert got == status
        if path == "/redirect":
            assert headers["location"] == "/login"
        if path == "/response":
            assert headers["x-tea"] == "none" and body == "no tea"
            assert headers["set-cookie"].startswith("session=")


def test_a_bug_before_the_handshake_is_a_500_logged_once(application, caplog):
    @application.route("/bug")
    def bug(ws):
        raise KeyError("before anything was decided")

    server = application.serve()
    assert split(server.request(handshake("GET /bug HTTP/1.1")))[0] == 500
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


def test_before_request_runs_first_and_may_refuse(application):
    reached = []

    @application.app.before_request
    def gate():
        if "token" not in flask.request.args:
            return "no token", 403
        return None

    @application.route("/ws/<int:number>")
    def numbered(ws, number):
        reached.append(number)
        ws.send(f"{number} {flask.request.args['token']} {flask.url_for('numbered', number=9)}")

    server = application.serve()
    assert split(server.request(handshake("GET /ws/7 HTTP/1.1")))[0] == 403
    assert reached == []
    assert server.connect("/ws/7?token=t").recv() == (f"7 t ws://127.0.0.1:{server.port}/ws/9")


def test_a_handler_that_decides_nothing_is_accepted_after_the_delay(application):
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 0.2

    @application.route("/ws")
    def sleeps(ws):
        time.sleep(0.6)

    server = application.serve()
    begun = time.monotonic()
    client = server.connect("/ws")
    assert 0.2 <= time.monotonic() - begun < 0.5
    assert client.recv_data()[1] == b"\x03\xe8"


def test_a_slow_before_request_does_not_count_as_deciding_nothing(application):
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 0.1

    @application.app.before_request
    def slow():
        time.sleep(0.4)
        return "refused after all", 403

    @application.route("/ws")
    def handler(ws):
        pass

    assert split(application.serve().request(handshake()))[0] == 403


def test_abort_after_the_accept_is_an_error_and_not_http(application, caplog):
    @application.route("/ws")
    def late(ws):
        ws.accept()
        flask.abort(401)

    client = application.serve().connect("/ws")
    assert client.recv_data()[1][:2] == (1011).to_bytes(2, "big")
    wait_for(lambda: len(caplog.records) == 1)


def test_subprotocols(application):
    application.app.config["WEBSOCKETS_SUBPROTOCOLS"] = ["v1", "v2"]

    @application.route("/ws")
    def ws_(ws):
        ws.send(repr(ws.subprotocol))
        ws.send(repr(ws.subprotocol))

    @application.route("/explicit")
    def explicit(ws):
        with pytest.raises(ValueError, match="did not offer"):
            ws.accept(subprotocol="v9")
        ws.accept(subprotocol="other", headers={"X-Extra": "1"})
        with pytest.raises(RuntimeError, match="answered already"):
            ws.accept()

    server = application.serve()
    client = server.connect("/ws", subprotocols=["x", "v2", "v1"])
    assert client.subprotocol == "v2"
    client.recv()
    assert client.recv() == "'v2'"
    assert server.connect("/ws").subprotocol is None
    client = server.connect("/explicit", subprotocols=["other"])
    assert client.subprotocol == "other"
    assert client.getheaders()["x-extra"] == "1"


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"X": "a\r\nY: b"}, ValueError),
        ({"bad name": "x"}, ValueError),
        ({"Sec-WebSocket-Accept": "x"}, ValueError),
        ({"Connection": "close"}, ValueError),
        ({"X": 1}, TypeError),
    ],
)
def test_bad_headers_of_an_accept_are_refused_and_nothing_is_sent(application, headers, error):
    @application.route("/ws")
    def ws_(ws):
        with pytest.raises(error):
            ws.accept(headers=headers)
        return "still plain HTTP"

    assert split(application.serve().request(handshake()))[2] == "still plain HTTP"


def test_the_limit_of_connections_is_503(application):
    application.app.config["WEBSOCKETS_MAX_CONNECTIONS"] = 2

    @application.route("/ws")
    def ws_(ws):
        ws.receive()

    server = application.serve()
    clients = [server.connect("/ws") for _ in range(2)]
    status, headers, _ = split(server.request(handshake()))
    assert status == 503 and headers["retry-after"] == "5"
    clients[0].close()
    wait_for(lambda: len(server.websockets.connections) == 1)
    wait_for(lambda: connects(server))


def test_the_limit_of_handlers_is_503(application):
    application.app.config["WEBSOCKETS_HANDLER_THREADS"] = 1

    @application.route("/ws")
    def ws_(ws):
        ws.receive()

    server = application.serve()
    client = server.connect("/ws")
    assert split(server.request(handshake()))[0] == 503
    client.close()
    wait_for(lambda: connects(server))


def test_a_server_that_hides_its_socket_is_501_with_names(application, caplog):
    @application.route("/ws")
    def ws_(ws):
        ws.receive()

    headers = {**GOOD, "Host": "localhost"}
    answer = application.app.test_client().get("/ws", headers=headers)
    assert answer.status_code == 501
    assert "Werkzeug" in answer.text
    assert len(caplog.records) == 1


def test_a_random_key_gets_its_own_answer(server):
    import hashlib

    key = base64.b64encode(os.urandom(16)).decode()
    headers = split(server.request(handshake(Sec_WebSocket_Key=key)))[1]
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = hashlib.sha1((key + guid).encode()).digest()
    assert headers["sec-websocket-accept"] == base64.b64encode(digest).decode()


def test_a_refused_websocket_cannot_be_used_afterwards(application):
    kept = []

    @application.route("/ws")
    def ws_(ws):
        kept.append(ws)
        flask.abort(403)

    with pytest.raises(websocket.WebSocketBadStatusException):
        application.serve().connect("/ws")
    with pytest.raises(RuntimeError, match="refused"):
        kept[0].send("x")


def refused_20_times(server, text, status):
    server.request(text)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert split(server.request(text))[0] == status
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize("body", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_handshake_with_a_body_is_refused_and_leaks_nothing(server, body):
    name, value = body.split(": ")
    text = handshake(**{name.replace("-", "_"): value}) + "hello\n"
    assert split(server.request(text))[2] == "A WebSocket handshake has no body.\n"
    refused_20_times(server, text, 400)


def test_a_connection_that_cannot_be_taken_over_leaks_nothing(application, caplog, monkeypatch):
    @application.route("/ws")
    def ws_(ws):
        ws.send("hello")

    def broken(reader):
        raise OSError(errno.EIO, "Input/output error")

    server = application.serve()
    with monkeypatch.context() as patch:
        patch.setattr("flask_websockets.servers.taking.Reader.read_ahead", broken)
        refused_20_times(server, handshake(), 500)
    assert server.connect("/ws").recv() == "hello"


def test_websockets_of_other_extensions_stay_with_the_server(application):
    """Their views find the server's socket, and run where the server has called them."""
    threads = []

    @application.route("/ws")
    def ws_(ws):
        ws.send("ours")

    @application.app.route("/theirs", websocket=True)
    def theirs():
        threads.append(threading.current_thread())
        server_socket = flask.request.environ["werkzeug.socket"]
        server_socket.sendall(b"HTTP/1.1 101 Their own\r\n\r\n")
        return ""

    @application.app.before_request
    def note_thread():
        threads.append(threading.current_thread())

    server = application.serve()
    answer = server.request(handshake("GET /theirs HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 101 Their own")
    assert len(set(threads)) == 1
    assert not threads[0].name.startswith("ws ")
    assert server.connect("/ws").recv() == "ours"
    assert threads[-1].name == "ws /ws 127.0.0.1"


def test_a_path_that_was_changed_before_our_middleware_says_so(application, caplog):
    @application.route("/ws")
    def ws_(ws):
        pass

    inner = application.app.extensions["flask_websockets.runtime"].app.wsgi_app.wsgi_app

    def rewriting(environ, start_response):
        environ["PATH_INFO"] = "/ws"
        return inner(environ, start_response)

    application.app.wsgi_app.wsgi_app = rewriting
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        application.serve().connect("/elsewhere")
    assert refused.value.status_code == 501
    assert b"its path was changed on the way" in refused.value.resp_body


def expect_503_without_descriptors(server, monkeypatch):
    def no_descriptor(fd):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("flask_websockets.servers.taking.take_over", no_descriptor)
        status, headers, text = split(server.request(handshake()))
        assert (status, headers["retry-after"]) == (503, "5")
        assert "no descriptors or no memory" in text


def test_descriptors_used_up_is_an_http_error_and_the_server_goes_on(application, caplog, monkeypatch):
    @application.route("/ws")
    def ws_(ws):
        ws.send("hello")

    server = application.serve()
    expect_503_without_descriptors(server, monkeypatch)
    assert server.connect("/ws").recv() == "hello"


def test_so_it_is_when_the_engine_accepts_for_a_handler_that_sleeps(application, monkeypatch):
    application.app.config["WEBSOCKETS_ACCEPT_DELAY"] = 0.1
    left = threading.Event()

    @application.route("/ws")
    def ws_(ws):
        left.wait(10)

    server = application.serve()
    expect_503_without_descriptors(server, monkeypatch)
    left.set()


@pytest.mark.parametrize("kind", ["function", "class", "async"])
def test_what_a_view_has_refused_no_other_thread_accepts(application, kind):
    given = []

    if kind == "function":

        @application.route("/ws")
        def ws_(ws):
            given.append(ws)
            return "no", 403

    elif kind == "class":

        @application.route("/ws")
        class Class(WebSocketView):
            def on_open(self, ws):
                given.append(ws)
                flask.abort(403)

            def on_message(self, ws, data):
                pass

    else:

        @application.route("/ws")
        async def ws_(ws):
            given.append(ws)
            return "no", 403

    server = application.serve()
    status, _, _ = split(server.request(handshake()))
    assert status == 403
    with pytest.raises(RuntimeError, match="the handshake was refused"):
        given[0].accept()
    assert application.websockets.connections == frozenset()
