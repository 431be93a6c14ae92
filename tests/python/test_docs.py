"""The programs of README.md, docs/getting-started.md, docs/views.md and docs/records.md run as they are
pasted, each started as the page says, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from unittest.mock import ANY

import pytest
from conftest import ROOT, free_port, wait_for


def examples(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


README, PAGE, VIEWS, RECORDS = map(
    examples, ["README.md", "docs/getting-started.md", "docs/views.md", "docs/records.md"]
)
BASE = PAGE[0]
*IN_ONE_FILE, FACTORY, TESTING = PAGE
KINDS = ("function", "class", "async")


@pytest.fixture
def flask_run(program):
    """Starts `flask run` beside an app.py of these examples."""

    def start(*parts: str):
        port = free_port()
        command = [sys.executable, "-m", "flask", "run", "--port", str(port)]
        return program("\n\n".join(parts), port, command)

    return start


def one(among: list[str], *words: str) -> str:
    """The only example with these words."""
    (found,) = [text for text in among if all(word in text for word in words)]
    return found


def test_the_first_program_of_both_pages(flask_run):
    for program, path in ((README[0], "/echo"), (BASE, "/ws")):
        server = flask_run(program)
        # As in the console of a page that this server has sent.
        client = server.connect(path, origin=f"http://127.0.0.1:{server.port}")
        client.send("hello")
        assert client.recv() == "hello"
        server.interrupt()
        server.wait()
        assert "Traceback" not in server.log


def test_what_is_published_from_a_page(flask_run):
    server = flask_run(README[0], README[1])
    client = server.connect("/news")
    url = f"http://127.0.0.1:{server.port}/news"
    wait_for(lambda: urllib.request.urlopen(url, b"it rains", timeout=10).read() == b"1 readers")
    assert client.recv() == "it rains"


def test_a_class_view(flask_run):
    server = flask_run(BASE, one(PAGE, "class Room"))
    first, second = server.connect("/room/red"), server.connect("/room/red")
    first.send("to all")
    assert first.recv() == second.recv() == "to all"
    second.close(4001)
    wait_for(lambda: "left with 4001" in server.log, what=lambda: server.log)


def test_an_async_view(flask_run):
    client = flask_run(BASE, one(PAGE, "async def echo")).connect("/echo")
    client.send("hello")
    assert client.recv() == "hello"


def test_refusing(flask_run):
    from websocket import WebSocketBadStatusException

    server = flask_run(BASE, one(PAGE, "token"))
    with pytest.raises(WebSocketBadStatusException) as refused:
        server.connect("/members/joe")
    assert refused.value.status_code == 401
    assert server.connect("/members/joe?token=secret").recv() == "hello joe"


def test_decorators(flask_run):
    from websocket import WebSocketBadStatusException

    server = flask_run(BASE, one(PAGE, "class Inbox"))
    for path, answer in (("/account", "your account"), ("/inbox", "no news of me")):
        with pytest.raises(WebSocketBadStatusException) as refused:
            server.connect(path)
        assert refused.value.status_code == 403
        client = server.connect(path, cookie="login=anne")
        client.send("me")
        assert client.recv() == answer


def test_the_clock_and_its_end(flask_run):
    server = flask_run(BASE, one(PAGE, "publish_server_time"))
    client = server.connect("/time")
    assert float(client.recv()) > 0
    server.interrupt()
    server.wait()
    assert "Traceback" not in server.log


def test_the_factory(flask_run):
    server = flask_run(FACTORY)
    for path in ("/ws", "/rooms/red"):
        client = server.connect(path)
        client.send("hello")
        assert client.recv() == "hello"


def test_all_examples_of_a_page_in_one_file(flask_run):
    server = flask_run(*IN_ONE_FILE)
    for path in ("/ws", "/room/red", "/echo"):
        client = server.connect(path)
        client.send("hello")
        assert client.recv() == "hello"


def test_the_test_of_the_first_program(tmp_path):
    (tmp_path / "app.py").write_text(BASE)
    (tmp_path / "test_app.py").write_text(TESTING)
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        pytest_, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


#: What the examples about views speak of and do not show: who logs in, and handlers that put the user
#: into ws.data; and who reads what the players publish.
BESIDE = """
import logging
from flask_websockets import WebSocketView

logging.basicConfig(level=logging.INFO)  # so that ends are said

@app.get("/login/<user>")
def login(user):
    session["user"] = user
    return user

@websockets.route("/private/function")
def private(ws):
    ws.data["user"] = session.get("user")
    ws.send("in")
    ws.receive()

@websockets.route("/private/class")
class Private(WebSocketView):
    def on_open(self, ws):
        ws.data["user"] = session.get("user")
        ws.send("in")

    def on_message(self, ws, data):
        ws.send(data)

@websockets.route("/private/async")
async def private_async(ws):
    ws.data["user"] = session.get("user")
    await ws.send("in")
    await ws.receive()

@websockets.route("/game")
class Game(WebSocketView):
    def on_open(self, ws):
        websockets.subscribe(ws, "game")

    def on_message(self, ws, data):
        pass
"""


def cookie_of(answer) -> str:
    return answer["set-cookie"].split(";")[0]


def test_the_examples_about_views(flask_run):
    server = flask_run(BASE, *VIEWS, BESIDE)
    client = server.connect("/notes")
    client.send("one")
    assert client.recv() == "saved one"
    client = server.connect("/notes/7")
    client.send("two")
    assert json.loads(client.recv()) == [7, "two"]
    client = server.connect("/visits")
    assert client.recv() == "visit 1"
    client = server.connect("/visits", cookie=cookie_of(client.getheaders()))
    assert client.recv() == "visit 2"
    game, player = server.connect("/game"), server.connect("/player/anne")
    player.send("e4")
    assert game.recv() == "anne moves e4"
    player.close()
    assert game.recv() == "anne has left"
    client = server.connect("/prices/flask")
    client.send("buy")
    assert [json.loads(client.recv()) for _ in range(2)] == [{"share": "flask"}] * 2
    client.close()
    wait_for(lambda: "WebSocket /prices/<share> of" in server.log, what=lambda: server.log)
    assert "Traceback" not in server.log and "goes on" not in server.log


def test_the_example_that_closes_what_is_open_at_a_logout(flask_run):
    server = flask_run(BASE, *VIEWS, BESIDE)
    page = f"http://127.0.0.1:{server.port}"

    def connect(user):
        with urllib.request.urlopen(f"{page}/login/{user}", timeout=10) as answer:
            cookie = cookie_of(answer.headers)
        clients = [server.connect(f"/private/{kind}", cookie=cookie) for kind in KINDS]
        assert [client.recv() for client in clients] == ["in"] * 3
        return cookie, clients

    cookie, hers = connect("ann")
    _, his = connect("bob")
    nobodys = server.connect("/private/class")
    assert nobodys.recv() == "in"
    for headers in ({}, {"Cookie": cookie}):  # nobody logs out; then she
        request = urllib.request.Request(f"{page}/logout", b"", headers)
        assert urllib.request.urlopen(request, timeout=10).read() == b"good bye"
    for client in hers:
        assert client.recv_data() == (8, (1008).to_bytes(2, "big") + b"logged out")
    for client in (his[1], nobodys):
        client.send("still there")
        assert client.recv() == "still there"
    for client in (his[0], his[2]):  # which return then
        client.send("still there")
        assert client.recv_data() == (8, (1000).to_bytes(2, "big"))
    assert "Traceback" not in server.log


def test_the_handler_that_goes_on_after_a_malformed_message(flask_run):
    server = flask_run(BASE, *RECORDS)
    client = server.connect("/json")
    for text in ("1", "{", "2"):
        client.send(text)
    assert [json.loads(client.recv()) for _ in range(3)] == [1, {"error": ANY}, 2]
    client.close()
    wait_for(lambda: "closed by peer" in server.log, what=lambda: server.log)
    assert "3 messages in, 3 out" in server.log and "Traceback" not in server.log


def test_what_arrived_before_the_close_is_read_after_a_malformed_message(flask_run):
    """Which the example of docs/records.md is there for."""
    (example,) = [text for text in RECORDS if "InvalidMessage" in text]
    waits = example.replace("ws.send_json(value)", "print('value', value)").replace(
        "ws.send_json({", "time.sleep(0.5); print({"
    )
    server = flask_run("import time", BASE, waits)
    client = server.connect("/json")
    for text in ("1", "{", "2", "{", "3"):
        client.send(text)
    client.close()
    wait_for(lambda: "value 3" in server.log, what=lambda: server.log)
