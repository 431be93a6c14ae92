"""Twelve popular extensions in all kinds of view, on real servers: nothing of them is used up, mixed
up, brought back to life, or said twice. The application is probe_app.py."""

from __future__ import annotations

import collections
import http.client
import http.cookies
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import websocket
from conftest import Program, free_port, wait_for
from fleet import Fleet
from test_gunicorn import children

EXTENSIONS = {
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "flask_login": "Flask-Login",
    "flask_session": "Flask-Session",
    "flask_wtf": "Flask-WTF",
    "flask_limiter": "Flask-Limiter",
    "flask_caching": "Flask-Caching",
    "flask_babel": "Flask-Babel",
    "flask_cors": "Flask-Cors",
    "flask_talisman": "flask-talisman",
    "flask_migrate": "Flask-Migrate",
    "sentry_sdk": "sentry-sdk",
    "opentelemetry.instrumentation.flask": "opentelemetry-instrumentation-flask",
}


def is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # of a package that it is in
        return True


MISSING = [name for module, name in EXTENSIONS.items() if is_missing(module)]
if MISSING:
    pytest.skip(f"not installed: {', '.join(MISSING)}", allow_module_level=True)

FOLDER = pathlib.Path(__file__).resolve().parent
ORIGIN = "https://page.example"
USERS = {"ann": ("de", "1.234,5"), "ben": ("fr", "1\N{NARROW NO-BREAK SPACE}234,5")}

#: OpenTelemetry wraps the application inside of the extension, or outside.
SERVERS = {
    "sync": ("gunicorn", "last"),
    "gthread": ("gunicorn", "--threads", "4", "first"),
    "gevent": ("gunicorn", "-k", "gevent", "last"),
    "werkzeug": ("flask", "first"),
}

HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Origin": ORIGIN,
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec_WebSocket_Version": "13",
}


class Browser:
    """Keeps cookies, of pages and of handshakes, and has the token that Flask-WTF asks for."""

    def __init__(self, server: Probe) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}

    def headers(self, **more: str) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        # Behind a proxy that ends TLS, as Talisman wants it.
        fields = {"X-Forwarded-Proto": "https", "Referer": f"https://127.0.0.1:{self.server.port}/"}
        fields.update({name.replace("_", "-"): value for name, value in more.items()})
        return {**fields, "Cookie": cookie} if cookie else fields

    def take_cookies(self, fields: list[str]) -> None:
        for field in fields:
            for name, cookie in http.cookies.SimpleCookie(field).items():
                if cookie["max-age"] == "0" or cookie.value == "":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = cookie.value

    def get(self, path: str) -> dict:
        return json.loads(self.request("GET", path))

    def post(self, path: str) -> str:
        return self.request("POST", path, X_CSRFToken=self.get("/")["token"])

    def request(self, method: str, path: str, status: int = 200, **more: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request(method, path, headers=self.headers(**{"Connection": "close", **more}))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == status, (answer.status, text)
        self.take_cookies(answer.headers.get_all("Set-Cookie") or [])
        return text

    def connect(self, path: str) -> websocket.WebSocket:
        fields = [f"{name}: {value}" for name, value in self.headers().items()]
        client = self.server.connect(path, header=fields, origin=ORIGIN)
        self.server.handshakes[path.partition("?")[0]] += 1
        self.take_cookies(
            [client.getheaders()[name] for name in ("set-cookie",) if name in client.getheaders()]
        )
        return client


class Probe(Program):
    """The application on a server."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self.name = name
        program, *options, traced = SERVERS[name]
        self.is_gunicorn = program == "gunicorn"
        self.kinds = ("function", "class") if name == "gevent" else ("function", "class", "async")
        self.folder = folder
        #: The handshakes that were accepted, by path.
        self.handshakes: collections.Counter[str] = collections.Counter()
        port = free_port()
        address = f"127.0.0.1:{port}"
        command = [sys.executable, "-m"]
        if self.is_gunicorn:
            command += ["gunicorn", "-b", address, "--graceful-timeout", "8", "--no-control-socket"]
            command += ["--chdir", str(FOLDER), *options, "probe_app:app"]
        else:
            command += ["flask", "--app", str(FOLDER / "probe_app.py"), "run", "--port", str(port)]
        super().__init__(folder, None, port, command, {**environment(folder), "PROBE_TRACED": traced})

    def login(self, name: str) -> Browser:
        browser = Browser(self)
        browser.post(f"/login/{name}")
        return browser

    def lines(self, name: str) -> list[dict]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def events(self, kind: str = "event") -> list[dict]:
        """What Sentry was sent."""
        return [event for event in self.lines("sentry.jsonl") if event["type"] == kind]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM if self.is_gunicorn else signal.SIGINT)
        assert self.wait(20) == 0, self.log


def environment(folder: pathlib.Path) -> dict[str, str]:
    return {"PROBE_FOLDER": str(folder), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Made by Flask-Migrate, in an application that has this extension."""
    folder = tmp_path_factory.mktemp("database")
    command = [sys.executable, str(FOLDER / "probe_app.py")]
    done = subprocess.run(
        command, env={**os.environ, **environment(folder)}, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return folder / "probe.db"


@pytest.fixture(scope="module", params=SERVERS)
def probe(request, tmp_path_factory, database):
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(database, folder)
    server = Probe(folder, request.param)
    yield server
    server.kill()


def ask(client, data="?"):
    client.send(data)
    return json.loads(client.recv())


def code_of(client):
    opcode, data = client.recv_data()
    assert opcode == 8
    return int.from_bytes(data[:2], "big")


def close(client):
    client.close(timeout=5)


# ---- one after the other, on the same server ----


def test_the_answer_of_a_handshake_has_what_the_extensions_put_into_it(probe):
    ann = probe.login("ann")
    for kind in probe.kinds:
        client = ann.connect(f"/{kind}")
        headers = client.getheaders()
        assert headers["access-control-allow-origin"] == ORIGIN  # Flask-CORS
        assert headers["x-frame-options"] == "SAMEORIGIN"  # Talisman
        assert headers["x-ratelimit-limit"] == "100000"  # Flask-Limiter
        assert headers["set-cookie"].startswith("session=")  # Flask-Session
        close(client)


def test_refusals_are_those_of_pages(probe):
    nobody = Browser(probe)

    def refused(path, status, **more):
        return nobody.request("GET", f"{path}?refused", status, **{**HANDSHAKE, **more})

    for kind in probe.kinds:
        refused(f"/{kind}", 401)
        refused(f"/{kind}", 302, X_Forwarded_Proto="http")  # Talisman
        refused(f"/{kind}", 403, Origin="https://foreign.example")
    for _ in range(3):
        close(nobody.connect("/limited"))
    refused("/limited", 429)
    nobody.request("POST", "/login/ann", status=400)  # without a token


def test_two_users_at_once_are_never_mixed_up(probe):
    browsers = {name: probe.login(name) for name in USERS}
    clients = [
        (name, kind, browsers[name].connect(f"/{kind}"))
        for kind in probe.kinds
        for name in (*USERS, *USERS)
    ]
    for turn in range(10):
        for _, kind, client in clients:
            client.send(f"{kind} {turn}")
        for name, kind, client in clients:
            locale, number = USERS[name]
            answer = json.loads(client.recv())
            assert answer == {
                "data": f"{kind} {turn}",
                "name": name,
                "database": name,
                "notes": [],
                "locale": locale,
                "number": number,
                "greeting": f"hello {name}",
                "cart": None,
                "sentry": name,
            }
    for *_, client in clients:
        close(client)


def test_what_one_user_has_not_committed_no_other_commits(probe):
    ann, ben = probe.login("ann"), probe.login("ben")
    for kind in probe.kinds:
        client, other = ann.connect(f"/{kind}"), ben.connect(f"/{kind}")
        draft = f"draft of {kind}"
        assert draft in ask(client, draft)["notes"]
        ben.post(f"/notes/{kind}")
        assert draft not in ask(client)["notes"]
        assert kind in ask(other)["notes"] and draft not in ask(other)["notes"]
        close(client)
        close(other)


def test_a_logout_while_a_websocket_is_open_is_final(probe):
    for kind in probe.kinds:
        ann = probe.login("ann")
        ann.post("/cart/book")
        first, second = ann.connect(f"/{kind}"), ann.connect(f"/{kind}")
        assert ask(first)["cart"] == "book"
        ann.post("/cart/lamp")
        close(first)
        settled(probe, 1)
        assert ann.get("/")["cart"] == "lamp"  # what the page has changed is not overwritten
        before = dict(ann.cookies)
        ann.post("/logout")
        assert ask(second)["name"] == "ann"  # of the handshake
        close(second)
        settled(probe)
        assert ann.get("/")["name"] == "nobody"
        ann.cookies = before  # of a browser that has kept it
        assert ann.get("/")["name"] == "nobody"


def settled(probe, count=0):
    """So many websockets are left, and only a page's connection to the database is in use."""
    nobody = Browser(probe)
    wait_for(lambda: nobody.get("/pool") == {"users": 2, "others": 0, "open": count})


def test_idle_websockets_hold_nothing(probe):
    """200, or 60 that take a thread or a task each, beside pages, with a pool of five connections."""
    browsers = [probe.login(name) for name in USERS]
    for kind in probe.kinds:
        count = 200 if kind == "class" else 60
        clients = [browsers[number % 2].connect(f"/{kind}") for number in range(count)]
        for client in clients:
            client.send("?")
        for client in clients:
            assert json.loads(client.recv())["data"] == "?"
        settled(probe, count)
        for browser, name in zip(browsers, USERS, strict=True):
            assert browser.get("/")["name"] == name
        assert [ask(client)["name"] for client in clients[:4]] == ["ann", "ben"] * 2
        for client in clients:
            client.send_close()
        settled(probe)


def test_an_exception_is_reported_once(probe):
    browsers = {name: probe.login(name) for name in USERS}
    expected = []
    before = len(probe.events())
    for kind in probe.kinds:
        for name, browser in browsers.items():
            others = [browsers[other].connect(f"/{kind}") for other in USERS]
            client = browser.connect(f"/{kind}?of={name}")
            for other in others:
                ask(other)
            client.send("boom")
            assert code_of(client) == 1011
            expected.append((f"boom of {name}", name, name, f"/{kind}", f"of={name}"))
            for other in others:
                ask(other)
                close(other)
    settled(probe)
    reported = [
        (
            event["exceptions"][-1] if event["exceptions"] else event["message"],
            event["user"],
            event["tag"],
            event["url"].partition(str(probe.port))[2],
            event["query"],
        )
        for event in probe.events()[before:]
    ]
    assert sorted(reported) == sorted(expected)
    logged = [line for line in probe.log.splitlines() if line.startswith("LookupError: boom of ")]
    assert len(logged) == len(expected)


class Users(Fleet):
    """Clients of ann's."""

    def echo_of(self, answer):
        value = json.loads(answer)
        assert value["name"] == value["database"] == value["sentry"] == "ann", value
        return value["data"]


def test_load_and_a_reload_under_it(probe):
    ann = probe.login("ann")
    statuses, stopping = [], threading.Event()

    def pages():
        while not stopping.wait(0.05):
            try:
                statuses.append(ann.get("/")["name"])
            except (OSError, http.client.HTTPException) as error:  # by gunicorn, in docs/deploy
                statuses.append(type(error))

    fleets = [Users(probe.url(f"/{kind}"), 10, 0.05, ann.headers()) for kind in probe.kinds]
    thread = threading.Thread(target=pages)
    thread.start()
    try:
        wait_for(lambda: all(fleet.echoes > 50 for fleet in fleets), 20)
        if probe.is_gunicorn:  # flask run is not reloaded by a signal
            old = children(probe.process.pid)
            probe.process.send_signal(signal.SIGHUP)
            wait_for(lambda: not old & children(probe.process.pid), 30, "the old worker to end")
        wait_for(lambda: all(fleet.connected == 10 for fleet in fleets), 20)
        counts = [fleet.echoes + 100 for fleet in fleets]
        wait_for(lambda: all(f.echoes > count for f, count in zip(fleets, counts, strict=True)), 20)
    finally:
        stopping.set()
        thread.join()
        for fleet in fleets:
            fleet.stop()
    assert set(statuses) - {ConnectionResetError, http.client.RemoteDisconnected} == {"ann"}, statuses
    codes = {1001} if probe.is_gunicorn else set()
    assert all(set(fleet.codes) == codes for fleet in fleets), [fleet.codes for fleet in fleets]
    for kind, fleet in zip(probe.kinds, fleets, strict=True):
        probe.handshakes[f"/{kind}"] += fleet.handshakes
    settled(probe)
    assert ann.get("/")["name"] == "ann"


def test_every_handshake_was_traced_once_and_nothing_else_was_logged(probe):
    """At the end, of all that the tests before have done on this server."""
    settled(probe)
    spans = probe.lines("spans.jsonl")
    traced = collections.Counter(
        span["attributes"]["http.route"]
        for span in spans
        if span["attributes"].get("http.route") in probe.handshakes
        and "refused" not in span["attributes"]["http.target"]
    )
    assert traced == probe.handshakes
    # What a view traces is a part of its own handshake's trace.
    roots = {span["span"]: span["trace"] for span in spans if span["parent"] is None}
    works = [span for span in spans if span["name"] == "work"]
    assert works and all(roots.get(work["parent"]) == work["trace"] for work in works)
    probe.stop()
    assert probe.log.count("Traceback") == probe.log.count("LookupError: boom of "), probe.log
    for said in ("Failed to detach", "QueuePool", "was changed in the WebSocket", "never awaited"):
        assert said not in probe.log, probe.log
