"""Which pages may connect: the same host's by default, and those of WEBSOCKETS_ALLOWED_ORIGINS."""

from __future__ import annotations

import re

import flask
import pytest
import websocket

from flask_websockets import ConfigurationError, WebSockets
from flask_websockets.config import Config
from flask_websockets.handshake import opening
from flask_websockets.origin import is_allowed
from flask_websockets.records import Seldom


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "example.com", True),
        ("https://example.com", "example.com", True),
        ("https://example.com", "example.com:443", True),
        ("http://example.com:80", "example.com", True),
        ("http://localhost:6969", "localhost:6969", True),
        ("http://[::1]:6969", "[::1]:6969", True),
        ("http://localhost:6969", "localhost:6970", False),
        ("https://example.com", "example.com.evil.org", False),
        ("https://example.com.evil.org", "example.com", False),
        ("https://sub.example.com", "example.com", False),
        ("null", "example.com", False),
        ("", "example.com", False),
        ("https://example.com:port", "example.com", False),
        ("https://[::1", "[::1", False),
    ],
)
def test_the_same_origin_rule(origin, host, allowed):
    assert is_allowed(origin, host, None) is allowed


def configured(value):
    return Config.from_mapping({"WEBSOCKETS_ALLOWED_ORIGINS": value}).allowed_origins


@pytest.mark.parametrize(
    ("listed", "allowed", "refused"),
    [
        (
            ["https://A.example/", " http://b.example:80 ", "https://c.example:443/"],
            "https://a.example https://a.example:443 HTTPS://A.EXAMPLE http://b.example https://c.example",
            "http://a.example https://a.example:444 https://a.example.evil https://x.a.example null",
        ),
        (
            "https://*.example.com",
            "https://a.example.com https://a.b.example.com https://a.EXAMPLE.com:443",
            "https://example.com https://evil-example.com https://.example.com http://a.example.com "
            "https://a.example.com.evil https://a.example.com:8443 https://evil.com/.example.com "
            "https://evil.com?.example.com https://evil.com#.example.com "
            "https://evil.com@a.example.com "
            "https://a.example.com@evil.com https://evil.com:.example.com",
        ),
        (
            ["http://*.localhost:5173", "http://localhost:5173"],
            "http://a.localhost:5173 http://localhost:5173",
            "http://a.localhost http://localhost:5174 http://xlocalhost:5173",
        ),
        (["null"], "null", "file:// https://null.example"),
        (["file://"], "file://", "null https://a.example file:"),
        (["file:///"], "file://", "null"),
        (
            ["http://[0:0:0:0:0:0:0:1]:5173", "http://127.0.0.1", "chrome-extension://abcdef"],
            "http://[::1]:5173 http://127.0.0.1:80 chrome-extension://abcdef",
            "http://[::1] http://[::2]:5173 http://127.0.0.11 chrome-extension://abcdeg",
        ),
        ("*", "null file:// https://any.example", ""),
        ([], "", "null https://a.example"),
        (lambda origin: origin.endswith(".ok"), "https://a.ok", "https://a.no"),
    ],
)
def test_what_is_listed(listed, allowed, refused):
    check = configured(listed)
    assert [origin for origin in allowed.split() if not is_allowed(origin, "a.example", check)] == []
    assert [origin for origin in refused.split() if is_allowed(origin, "a.example", check)] == []
    assert is_allowed(None, "a.example", check)


async def asynchronous(origin):
    return False


class AsynchronousCheck:
    async def __call__(self, origin):
        return False


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("example.com", 'begins with a scheme, as in "https://example.com"'),
        ("*.example.com", 'begins with a scheme, as in "https://*.example.com"'),
        ("", "begins with a scheme"),
        ("https://", "begins with a scheme|no scheme://host"),
        ("https://example.com/app", 'has no path; this page\'s is "https://example.com"'),
        ("https://example.com//", "has no path"),
        ("https://example.com?a", "has no path"),
        ("wss://example.com", "begins with https://, not wss://"),
        ("ws://example.com", "begins with http://, not ws://"),
        ("file://home/page.html", 'the one origin "file://"'),
        ("*://example.com", "a wildcard stands for subdomains"),
        ("https://*", "a wildcard stands for subdomains"),
        ("https://*example.com", "a wildcard stands for subdomains"),
        ("https://a.*.example.com", "a wildcard stands for subdomains"),
        ("https://*.*.example.com", "a wildcard stands for subdomains"),
        ("http://localhost:*", "a wildcard stands for subdomains"),
        ("https://*.", "no scheme://host"),
        ("https://*.127.0.0.1", "an address has no subdomains"),
        ("https://*.[::1]", "no scheme://host|an address has no subdomains"),
        ("http://127.1", "no scheme://host"),
        ("http://localhost:0", "no scheme://host"),
        ("http://localhost:65536", "no scheme://host"),
        ("http://localhost:port", "no scheme://host"),
        ("https://user@example.com", "no scheme://host"),
        ("https://[::1", "no scheme://host"),
        ("https://b\u00fccher.example", 'the ASCII form of a name, "https://xn--'),
        ("https://a.example,https://b.example", "a str of its own in the list"),
        ("https://a.example https://b.example", "a str of its own in the list"),
        (5, "an origin is a str"),
        (
            re.compile("https://.*"),
            "an origin is a str; for a pattern of another kind, give a callable",
        ),
    ],
)
def test_what_could_never_match(given, why):
    app = flask.Flask("x")
    app.config["WEBSOCKETS_ALLOWED_ORIGINS"] = ["https://good.example", given]
    with pytest.raises(ConfigurationError, match="WEBSOCKETS_ALLOWED_ORIGINS takes") as raised:
        WebSockets(app)
    assert f"not {given!r}: " in str(raised.value)
    assert any(one in str(raised.value) for one in why.split("|"))


@pytest.mark.parametrize("check", [asynchronous, AsynchronousCheck()])
def test_a_coroutine_is_true_so_an_async_check_would_allow_everybody(check):
    with pytest.raises(ConfigurationError, match="WEBSOCKETS_ALLOWED_ORIGINS must be an ordinary"):
        configured(check)


def test_a_foreign_origin_is_said_once_a_minute(application, caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(opening, "seldom", Seldom(clock=lambda: now[0]))

    @application.route("/room/<name>")
    def handler(ws, name):
        pass

    server = application.serve()

    def refuse(origin):
        with pytest.raises(websocket.WebSocketBadStatusException) as raised:
            server.connect("/room/a%1Bb", origin=origin)
        assert raised.value.status_code == 403
        assert b"WEBSOCKETS_ALLOWED_ORIGINS" in raised.value.resp_body

    refuse("http://localhost:5173")
    refuse("http://localhost:5173")
    now[0] += 59
    refuse("http://localhost:5173")
    assert len(caplog.records) == 1
    record = caplog.records[0]
    assert (record.name, record.levelname) == ("flask_websockets", "WARNING")
    assert record.getMessage() == (
        "a WebSocket handshake of '/room/a\\x1bb' from '127.0.0.1' was refused with 403: pages of the "
        "origin 'http://localhost:5173' may not connect here; "
        'app.config["WEBSOCKETS_ALLOWED_ORIGINS"] can allow them, and while it is not set only this '
        f"host may, '127.0.0.1:{server.port}' (said once a minute)"
    )
    assert (record.origin, record.address) == ("http://localhost:5173", "127.0.0.1")
    assert record.route == "/room/<name>"
    now[0] += 2
    refuse("http://localhost:5173")
    refuse("http://other.example")
    assert [r.origin for r in caplog.records[1:]] == ["http://localhost:5173", "http://other.example"]
    refuse("http://" + "x" * 5000)
    assert len(caplog.records[-1].origin) == 200
    for number in range(300):  # clients choose it: neither the log nor the memory is theirs
        refuse(f"http://{number}.example")
    assert len(caplog.records) <= 1 + 128 and len(opening.seldom._said) <= 128


def test_the_own_host_has_to_be_in_the_list_too(application, caplog, monkeypatch):
    monkeypatch.setattr(opening, "seldom", Seldom())
    application.app.config["WEBSOCKETS_ALLOWED_ORIGINS"] = ["https://other.example"]

    @application.route("/ws")
    def handler(ws):
        pass

    server = application.serve()
    for origin in (f"http://127.0.0.1:{server.port}", "http://foreign.example"):
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            server.connect("/ws", origin=origin)
    own, foreign = (record.getMessage() for record in caplog.records)
    assert "this host has to be in it too" in own and "this host" not in foreign
