"""Servers of all kinds, each started once for the tests of a module."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import kinds
import pytest
import websocket
import wire
from conftest import Program, free_port


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, tuple[str, str]]:
    """What a client trusts, and a certificate and its key for the servers."""
    folder = tmp_path_factory.mktemp("certificate")
    # In a process of its own, and without a sanitizer: its libraries leak.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "-m", "trustme", "-q", "-d", str(folder), "-i", "localhost", "127.0.0.1"]
    subprocess.run(command, check=True, env=environment)
    context = ssl.create_default_context(cafile=str(folder / "client.pem"))
    return context, (str(folder / "server.pem"), str(folder / "server.key"))


class Served(Program):
    """The contract's application on one kind of server."""

    def __init__(self, folder: Any, kind: kinds.Kind, authority: Any) -> None:
        self.kind = kind
        self.context, certificate = authority
        port = free_port()
        super().__init__(folder, None, port, kind.command(port, certificate), kind.environment())

    def url(self, path: str) -> str:
        return f"{'wss' if self.kind.tls else 'ws'}://127.0.0.1:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> websocket.WebSocket:
        if self.kind.tls:
            options["sslopt"] = {"context": self.context}
        return super().connect(path, **options)

    def socket(self) -> socket.socket:
        """A bare connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        if not self.kind.tls:
            return connection
        return self.context.wrap_socket(connection, server_hostname="localhost")

    def page(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        if self.kind.tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=10, context=self.context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        answer.text = answer.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def refused(self, path: str, **options: Any) -> websocket.WebSocketBadStatusException:
        with pytest.raises(websocket.WebSocketBadStatusException) as error:
            self.connect(path, **options)
        return error.value

    def raw(self, request: bytes) -> http.client.HTTPResponse:
        """Send a raw request, and read the answer."""
        with self.socket() as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection, method="GET")
            answer.begin()
            answer.text = answer.read().decode()  # type: ignore[attr-defined]
            return answer

    def upgrade(self, path: str, more: str = "") -> bytes:
        return wire.request(self.port, path, more)


@pytest.fixture(scope="module")
def serve(
    tmp_path_factory: pytest.TempPathFactory, authority: Any
) -> Iterator[Callable[[kinds.Kind], Served]]:
    """Starts a server of its own."""
    started: list[Served] = []

    def start(kind: kinds.Kind) -> Served:
        if not kind.available():
            pytest.skip(f"{kind.arguments[0]} is not installed")
        started.append(Served(tmp_path_factory.mktemp(kind.name), kind, authority))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="module", params=kinds.KINDS, ids=str)
def served(request: pytest.FixtureRequest, serve: Callable[[kinds.Kind], Served]) -> Iterator[Served]:
    """One server of each kind, for all tests that leave it as it was."""
    server = serve(request.param)
    yield server
    server.kill()
