"""Servers run in a way in which WebSockets do not work, or not as usual: each is refused in words,
logged once, at the start where it is known then; and what works works whole."""

from __future__ import annotations

import importlib.util
import io
import os
import pathlib
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import kinds
import pytest
import websocket
import wire
from conftest import free_port, wait_for
from serving import Served

from flask_websockets import servers

VIEWS = ["/echo", "/class/a", "/async/a"]


def refused_with(server: Served, text: str, *paths: str) -> None:
    for path in paths or VIEWS:
        error = server.refused(path)
        assert (error.status_code, text in error.resp_body.decode()) == (501, True), error.resp_body


def echoes(client, data="hello") -> bool:
    client.send(data)
    return client.recv() == data


# ---- Werkzeug ----


def test_the_development_server_with_processes(serve):
    server = serve(kinds.own("werkzeug-processes"))
    refused_with(server, "runs with processes=N")
    assert server.page("GET", "/").text == "a page"


# ---- uWSGI ----


def uwsgi(*options: str) -> kinds.Kind:
    return kinds.Kind("uwsgi" + "".join(options), ("uwsgi", *options))


DEAF = "start uWSGI with --http-websockets as well"


@pytest.mark.parametrize("threads", [("--enable-threads",), ("--gevent", "50")], ids=str)
def test_a_router_that_does_not_pass_messages_on(serve, threads):
    server = serve(uwsgi(*threads, "--http"))
    wait_for(lambda: DEAF in server.log, what="it to be said at the start")
    refused_with(server, DEAF, "/echo", "/class/a", "/echo")
    assert server.page("GET", "/").text == "a page"
    assert server.log.count(DEAF) == 1


def test_handshakes_that_a_router_recognises_and_one_that_it_does_not(serve):
    """It knows no lists, and wants two of three header fields."""
    server = serve(uwsgi("--enable-threads", "--http", "--http-websockets"))
    assert all(echoes(server.connect(path), "x" * 70_000) for path in ("/echo", "/class/a"))
    request = server.upgrade("/echo").replace(b"Connection: ", b"Connection: keep-alive, ")
    with server.socket() as connection:
        connection.sendall(request)
        assert wire.read_head(connection).startswith("HTTP/1.1 101")
        connection.sendall(wire.frame(1, b"one list"))
        assert wire.read_frame(connection) == (0x81, b"one list")
    answer = server.raw(request.replace(b"Upgrade: w", b"Upgrade: h2c, w"))
    assert (answer.status, "HTTP router" in answer.text) == (501, True)


def test_a_router_with_raw_bodies(serve):
    server = serve(uwsgi("--enable-threads", "--http", "--http-raw-body"))
    assert server.log.count(DEAF) == 0
    assert all(echoes(server.connect(path)) for path in ("/echo", "/class/a"))


def test_a_router_of_another_uwsgi(program):
    """Whether it passes messages on cannot be seen here; if it does not, the log has the reason."""
    executable = str(pathlib.Path(sys.executable).parent / "uwsgi")
    if not os.path.exists(executable):
        pytest.skip("uwsgi is not installed")
    behind, port = free_port(), free_port()
    command = [executable, "--socket", f"127.0.0.1:{behind}", "--master", "--die-on-term"]
    command += ["--enable-threads", "--home", sys.prefix, "--callable", "app"]
    command += ["--wsgi-file", str(kinds.FOLDER / "contract_app.py")]
    worker = program(port=behind, command=command)
    router = [executable, "--http", f"127.0.0.1:{port}", "--http-to", f"127.0.0.1:{behind}"]
    front = program(port=port, command=[*router, "--http-websockets", "--master", "--die-on-term"])
    assert all(echoes(front.connect("/echo")) for _ in range(2))
    assert worker.log.count("an HTTP router of another uWSGI") == 1


def record(kind: int, content: bytes) -> bytes:
    """Of FastCGI."""
    return bytes((1, kind, 0, 1)) + len(content).to_bytes(2, "big") + b"\0\0" + content


def test_fastcgi_has_no_upgrades(program):
    executable = str(pathlib.Path(sys.executable).parent / "uwsgi")
    if not os.path.exists(executable):
        pytest.skip("uwsgi is not installed")
    port = free_port()
    command = [executable, "--fastcgi-socket", f"127.0.0.1:{port}", "--master", "--die-on-term"]
    command += ["--enable-threads", "--home", sys.prefix, "--callable", "app"]
    command += ["--wsgi-file", str(kinds.FOLDER / "contract_app.py")]
    server = program(port=port, command=command)
    wait_for(lambda: "FastCGI has no upgrades" in server.log, what="it to be said at the start")
    head = wire.request(port, "/echo").decode().splitlines()[1:-1]
    fields = dict(line.split(": ", 1) for line in head)
    values = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in fields.items()}
    values |= {"REQUEST_METHOD": "GET", "PATH_INFO": "/echo", "SERVER_PROTOCOL": "HTTP/1.1"}
    values |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "QUERY_STRING": ""}
    parameters = b"".join(
        bytes((len(name), len(value))) + f"{name}{value}".encode() for name, value in values.items()
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        begin = record(1, b"\0\1" + b"\0" * 6)
        connection.sendall(begin + record(4, parameters) + record(4, b"") + record(5, b""))
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert b"Status: 501" in answer and b"uwsgi_pass" in answer
    assert server.log.count("FastCGI has no upgrades") == 1


# ---- gevent-websocket ----


GEVENT_WEBSOCKET = [
    kinds.own("gevent-websocket"),
    kinds.gunicorn("gevent-websocket", "-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"),
]


@pytest.fixture(params=GEVENT_WEBSOCKET, ids=str)
def answering(request, serve):
    if importlib.util.find_spec("geventwebsocket") is None:
        pytest.skip("gevent-websocket is not installed")
    return serve(request.param)


def test_a_handler_that_has_answered_the_handshake(answering):
    """gevent-websocket's, left over from Flask-Sockets: its 101 is the only one."""
    for path in ("/echo", "/class/a"):
        request = answering.upgrade(path, wire.DEFLATE + "Sec-WebSocket-Protocol: chat\r\n")
        with answering.socket() as connection:
            connection.sendall(request + wire.frame(1, b"with the request"))
            head = wire.read_head(connection)
            assert head.startswith("HTTP/1.1 101") and "Extensions" not in head
            assert wire.read_frame(connection) == (0x81, b"with the request")
            connection.sendall(wire.frame(1, b"x" * 70_000))
            assert wire.read_frame(connection) == (0x81, b"x" * 70_000)
            connection.sendall(wire.frame(8, b"\x03\xe8"))
            assert wire.read_frame(connection) == (0x88, b"\x03\xe8")
            assert connection.recv(1) == b""
    assert answering.log.count("Nothing here needs it") == 1
    assert "Traceback" not in answering.log


def test_such_a_handler_can_be_refused_by_a_close_frame_only(answering):
    for path, code, reason in (
        ("/401", 1008, b"401 UNAUTHORIZED"),
        ("/class/refused", 1008, b"401 UNAUTHORIZED"),
        ("/early-bug", 1011, b"500 INTERNAL SERVER ERROR"),
    ):
        client = answering.connect(path)
        assert client.recv_data() == (8, code.to_bytes(2, "big") + reason)
        assert client.sock.recv(1) == b""


# ---- gunicorn ----


@pytest.mark.parametrize("options", [["-k", "asgi"], ["-k", "asgi", "--preload"]], ids=" ".join)
def test_a_worker_that_gives_no_socket_out_is_known_at_the_start(serve, options):
    server = serve(kinds.gunicorn("asgi", *options))
    wait_for(lambda: "gunicorn's ASGI worker (-k asgi) does not give it out" in server.log)
    assert server.log.count("every handshake is refused") == 1


def test_waitress_as_a_command(program):
    """It loads the application, and is known by that."""
    port = free_port()
    command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "contract_app:app"]
    server = program(port=port, command=command, env={"PYTHONPATH": str(kinds.FOLDER)})
    assert server.log.count("waitress does not give it out: every handshake is refused") == 1


DIRTY = """
from gunicorn.dirty import DirtyApp

class Task(DirtyApp):
    def init(self):
        import contract_app

    def __call__(self, action, *arguments, **options):
        pass

    def close(self):
        pass
"""


def test_a_dirty_worker_has_no_websockets(serve, tmp_path):
    (tmp_path / "task.py").write_text(DIRTY)
    options = ["--pythonpath", str(tmp_path), "--dirty-app", "task:Task", "--dirty-workers", "1"]
    server = serve(kinds.gunicorn("dirty", *options))
    wait_for(lambda: "This is a dirty worker of gunicorn" in server.log)
    assert echoes(server.connect("/echo"))
    assert server.log.count("This is a dirty worker") == 1


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_websockets_beside_http_2(serve, worker):
    """On the same port: those need HTTP/1.1, which browsers speak for them."""
    options = ["-k", worker, "--threads", "3", "--http-protocols", "h2,h1"]
    server = serve(kinds.gunicorn(f"{worker}-h2", *options, tls=True))
    client = server.connect("/echo")
    with Http2(server.port) as connection:
        assert connection.get("/") == ("200", "a page")
        status, text = connection.get("/echo")
        assert (status, "This URL is a WebSocket" in text) == ("426", True)
        assert echoes(client) and echoes(server.connect("/class/a"))
        assert connection.get("/") == ("200", "a page")
    client.close()


class Http2:
    """One connection over TLS."""

    def __init__(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))
        self._authority = f"127.0.0.1:{port}"
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8")
        )
        self._connection.initiate_connection()

    def get(self, path: str) -> tuple[str, str]:
        """The status and the body."""
        stream = self._connection.get_next_available_stream_id()
        pseudo = {":method": "GET", ":scheme": "https", ":authority": self._authority, ":path": path}
        self._connection.send_headers(stream, list(pseudo.items()), end_stream=True)
        status, body = "", b""
        while True:
            self._socket.sendall(self._connection.data_to_send())
            for event in self._connection.receive_data(self._socket.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return status, body.decode()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()


def test_a_stream_of_http_2_that_asks_for_an_upgrade():
    """The h2 package lets none through; whatever does, the socket belongs to other streams as well."""
    environ = {"gunicorn.socket": object(), "SERVER_PROTOCOL": "HTTP/2.0", "wsgi.input": io.BytesIO()}
    with pytest.raises(servers.NoSocket, match=r"one stream of an HTTP/2 connection.*--http-protocols"):
        servers.find(environ)


# ---- New Relic ----


@pytest.mark.parametrize(
    "kind",
    [
        kinds.gunicorn("sync"),
        kinds.gunicorn("gevent", "-k", "gevent"),
        kinds.own("werkzeug"),
        kinds.own("gevent"),
        kinds.own("cheroot"),
        kinds.Kind("uwsgi", ("uwsgi", "--enable-threads")),
    ],
    ids=str,
)
def test_under_the_agent_of_new_relic(program, tmp_path, kind):
    """It puts its own objects around those of the server."""
    admin = pathlib.Path(sys.executable).parent / "newrelic-admin"
    if not admin.exists() or not kind.available():
        pytest.skip(f"newrelic or {kind} is not installed")
    settings = tmp_path / "newrelic.ini"
    settings.write_text(
        f"[newrelic]\nlicense_key = {'0' * 40}\ndeveloper_mode = true\nlog_file = stderr\n"
    )
    port = free_port()
    command = [str(admin), "run-program", *kind.command(port, ("", ""))]
    environment = {"NEW_RELIC_CONFIG_FILE": str(settings), "PYTHONPATH": str(kinds.FOLDER)}
    server = program(port=port, command=command, env=environment)
    for path in VIEWS if kind.threads else VIEWS[:2]:
        client = server.connect(path)
        client.send("hello")
        assert client.recv().endswith("hello")
    with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
        server.connect("/401")
