"""Real proxies with the configuration of docs/deploy in front of gunicorn: TLS ends in them."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest
import websocket
from conftest import ROOT, Program, accepts, free_port, wait_for

FOLDER = pathlib.Path(__file__).resolve().parent
DEPLOY = ROOT / "docs" / "deploy"


def prefix_lines(language: str) -> list[str]:
    """What the README of docs/deploy says to write for a path prefix, without its comments."""
    text = (DEPLOY / "README.md").read_text()
    block = text.split(f"```{language}\n")[1].split("```")[0]
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def edited(name: str, changes: dict[str, str]) -> str:
    """The documented file with ports and paths of the test. Each must be there."""
    text = (DEPLOY / name).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy with its application.

    ``silence``: how long, in seconds, a connection may be silent. ``prefixed``: the application is
    under /app, as the README of docs/deploy says.
    """

    def __init__(
        self, tmp_path, authority, unix_socket=False, silence=60, ping_interval=25, prefixed=False
    ):
        self.folder = tmp_path
        self.clients: list[websocket.WebSocket] = []
        self.context, (self.certificate, self.key) = authority
        self.port = free_port()
        self.silence = silence
        self.unix_socket = unix_socket
        self.prefixed = prefixed
        self.application_port = free_port()
        bind = f"unix:{tmp_path}/http.sock" if unix_socket else f"127.0.0.1:{self.application_port}"
        self.address = bind
        folder = tmp_path / "application"
        folder.mkdir()
        command = [sys.executable, "-m", "gunicorn", "-b", bind, "--chdir", str(FOLDER)]
        if unix_socket:
            command += ["-b", f"127.0.0.1:{self.application_port}", "--umask", "0"]
        command += ["--no-control-socket", "--access-logfile", "-", "proxied_app:app"]
        environment = {"PING_INTERVAL": str(ping_interval), "PREFIXES": str(int(prefixed))}
        self.application = Program(folder, None, self.application_port, command, environment)
        with (tmp_path / "proxy.log").open("wb") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_for(lambda: accepts(self.port) or self.process.poll() is not None, what="the proxy")
        assert self.process.poll() is None, (tmp_path / "proxy.log").read_text()

    def command(self) -> list[str]:
        raise NotImplementedError

    def connect(self, path: str, **options) -> websocket.WebSocket:
        url = f"wss://localhost:{self.port}{path}"
        options.setdefault("origin", f"https://localhost:{self.port}")
        options["sslopt"] = {"context": self.context}
        self.clients.append(websocket.create_connection(url, timeout=20, **options))
        return self.clients[-1]

    def stop(self) -> None:
        for client in self.clients:
            client.shutdown()
        self.application.kill()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Nginx(Proxy):
    program = "nginx"

    def command(self) -> list[str]:
        location, *lines = prefix_lines("nginx")
        prefix = {"location / {": location, "proxy_pass http://application;": "\n".join(lines)}
        site = edited(
            "nginx.conf",
            {
                **(prefix if self.prefixed else {}),
                "server 127.0.0.1:8000;": f"server {self.address};",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                "server_name example.com;": "server_name localhost;",
                "/etc/ssl/example.com/fullchain.pem": self.certificate,
                "/etc/ssl/example.com/privkey.pem": self.key,
                "proxy_read_timeout 60s;": f"proxy_read_timeout {self.silence}s;",
            },
        )
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''}\n"  # who may reach the test's folder
            f"pid {self.folder}/nginx.pid;\ndaemon off;\nerror_log {self.folder}/error.log;\n"
            "events { worker_connections 4096; }\n"
            f"http {{\naccess_log {self.folder}/access.log;\n{temporary}{site}\n}}\n"
        )
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


class HAProxy(Proxy):
    program = "haproxy"

    def command(self) -> list[str]:
        both = self.folder / "both.pem"
        both.write_text(pathlib.Path(self.certificate).read_text() + pathlib.Path(self.key).read_text())
        configuration = edited(
            "haproxy.cfg",
            {
                "bind :443": f"bind 127.0.0.1:{self.port}",
                "/etc/ssl/example.com/certificate-and-key.pem": str(both),
                "server first 127.0.0.1:8000": f"server first {self.address.replace('unix:', 'unix@')}",
                "timeout tunnel  60s": f"timeout tunnel  {self.silence}s",
            },
        )
        if self.prefixed:
            configuration += "".join(f"    {line}\n" for line in prefix_lines("haproxy"))
        (self.folder / "haproxy.cfg").write_text(configuration)
        return ["haproxy", "-f", str(self.folder / "haproxy.cfg")]


class Caddy(Proxy):
    program = "caddy"

    def command(self) -> list[str]:
        # It would get a certificate from an authority, and listen at the port 80 for that.
        options = f"admin off\nauto_https disable_redirects\nstorage file_system {self.folder}/caddy\n"
        listen = f"bind 127.0.0.1\ntls {self.certificate} {self.key}\n"
        address = self.address.replace("unix:", "unix/")
        changes = {
            "example.com {": f"{{\n{options}}}\n\nhttps://localhost:{self.port} {{\n{listen}",
            "reverse_proxy 127.0.0.1:8000 {": f"reverse_proxy {address} {{",
        }
        if self.prefixed:
            handle, proxy, header, *ends = prefix_lines("caddy")
            assert proxy in changes and ends == ["}", "}"]
            changes[proxy] = f"{handle}\n{changes[proxy]}\n{header}"
        site = edited("Caddyfile", changes) + ("}\n" if self.prefixed else "")
        (self.folder / "Caddyfile").write_text(site)
        return ["caddy", "run", "--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES = [Nginx, HAProxy, Caddy]
#: Those that cut off what is silent; Caddy lets it be.
IMPATIENT = [Nginx, HAProxy]


@pytest.fixture
def start(tmp_path, authority):
    started = []

    def start(kind: type[Proxy], **options) -> Proxy:
        if shutil.which(kind.program) is None:
            pytest.skip(f"{kind.program} is not installed (apt-get install {kind.program})")
        started.append(kind(tmp_path, authority, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def echoes(client, data="hello") -> bool:
    client.send(data)
    return client.recv() == data


@pytest.mark.parametrize("unix_socket", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("kind", PROXIES)
def test_websockets_and_pages_through_the_proxy(start, kind, unix_socket):
    proxy = start(kind, unix_socket=unix_socket)
    clients = [proxy.connect("/echo") for _ in range(50)]
    assert all(echoes(client) for client in clients)
    assert echoes(clients[0], "x" * (1 << 20))
    url = f"https://localhost:{proxy.port}/"
    with urllib.request.urlopen(url, context=proxy.context, timeout=10) as answer:
        assert answer.read() == b"a page"
    for client in clients:
        client.close()
        assert client.sock is None


@pytest.mark.parametrize("kind", PROXIES)
def test_what_the_application_learns_of_the_client(start, kind):
    proxy = start(kind)
    told = json.loads(proxy.connect("/who").recv())
    assert told == ["127.0.0.1", f"localhost:{proxy.port}", "https"]
    # Of what the client says itself, only what the proxy has added counts.
    spoofed = proxy.connect("/who", header={"X-Forwarded-For": "8.8.8.8"})
    assert json.loads(spoofed.recv())[0] == "127.0.0.1"


@pytest.mark.parametrize("kind", PROXIES)
def test_pages_of_other_origins_may_not_connect(start, kind):
    proxy = start(kind)
    for origin in ("https://evil.example", "https://localhost", f"https://localhost:{proxy.port + 1}"):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            proxy.connect("/echo", origin=origin)
        assert refused.value.status_code == 403


@pytest.mark.parametrize("kind", IMPATIENT)
def test_pings_keep_a_silent_connection(start, kind):
    """The proxy cuts off what is silent for 2 s; the application pings every second."""
    client = start(kind, silence=2, ping_interval=1).connect("/echo")
    deadline = time.monotonic() + 5
    client.settimeout(0.5)
    pings = 0
    while time.monotonic() < deadline:
        try:
            frame = client.recv_frame()
        except (websocket.WebSocketTimeoutException, ssl.SSLWantReadError):
            continue
        assert frame.opcode == 9
        client.pong(frame.data)
        pings += 1
    assert pings >= 3
    client.settimeout(10)
    assert echoes(client)


@pytest.mark.parametrize("kind", IMPATIENT)
def test_without_them_it_is_cut_off(start, kind):
    client = start(kind, silence=2, ping_interval=0).connect("/echo")
    assert echoes(client)
    begun = time.monotonic()
    with pytest.raises((websocket.WebSocketConnectionClosedException, ssl.SSLError, OSError)):
        client.recv_frame()
    assert 1 < time.monotonic() - begun < 10


@pytest.mark.parametrize("kind", PROXIES)
def test_the_application_stops_behind_the_proxy(start, kind):
    proxy = start(kind)
    client = proxy.connect("/echo")
    assert echoes(client)
    proxy.application.process.send_signal(signal.SIGTERM)
    opcode, data = client.recv_data()
    assert (opcode, data[:2]) == (8, (1001).to_bytes(2, "big"))


@pytest.mark.parametrize("kind", PROXIES)
def test_an_application_under_a_path_prefix(start, kind):
    proxy = start(kind, prefixed=True)

    def get(path: str, **headers: str) -> bytes:
        request = urllib.request.Request(f"https://localhost:{proxy.port}{path}", headers=headers)
        with urllib.request.urlopen(request, context=proxy.context, timeout=10) as answer:
            return answer.read()

    assert get("/app/") == b"a page"
    urls = ["/app/", *(f"wss://localhost:{proxy.port}/app/{name}" for name in ("echo", "who"))]
    assert json.loads(get("/app/urls")) == urls
    # What a client writes there itself does not count.
    assert json.loads(get("/app/urls", **{"X-Forwarded-Prefix": "/evil"})) == urls
    client = proxy.connect("/app/echo")
    assert echoes(client)
    assert json.loads(proxy.connect("/app/who").recv())[1:] == [f"localhost:{proxy.port}", "https"]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        proxy.connect("/app/none")
    assert refused.value.status_code == 404
