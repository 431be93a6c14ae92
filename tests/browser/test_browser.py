"""Headless Chromium against the demo and against the clock of the getting-started page."""

from __future__ import annotations

import pathlib
import shutil
import sys

import pytest
from conftest import ROOT, free_port, wait_for

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver"
    ),
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("default"),  # selenium's own
]

SCREENSHOT = ROOT / "docs" / "demo.png"

CLOCK = """
import time
from threading import Thread
from flask import Flask
from flask_websockets import WebSocket, WebSockets

app = Flask(__name__)
websockets = WebSockets(app)


@app.route("/")
def page():
    return '''<!doctype html><script>
      const seen = [];
      const ws = new WebSocket("ws://" + location.host + "/ws");
      ws.onmessage = (event) => seen.push(event.data);
      ws.onclose = (event) => seen.push("closed " + event.code + " " + event.wasClean);
    </script>'''


@websockets.route("/ws")
def websocket_route(ws: WebSocket) -> None:
    with websockets.subscribe(ws, ["server_time"]):
        for data in ws.iter_data():    # keep listening to the websocket so it doesn't disconnect
            pass


@websockets.route("/echo")
def echo(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send(data)


@websockets.route("/empty")
def empty(ws: WebSocket) -> None:
    pass


@websockets.route("/once")
def once(ws: WebSocket) -> None:
    for data in ws.iter_data():
        ws.send_bytes(data)
        break


def publish_server_time() -> None:
    while True:
        websockets.publish(str(time.time()), ["server_time"])
        time.sleep(1)


Thread(target=publish_server_time).start()
app.run(host="localhost", port=PORT)
"""


@pytest.fixture
def browser(tmp_path):
    opened = []

    def start():
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1200,800",
            f"--user-data-dir={tmp_path / str(len(opened))}",
        ):
            options.add_argument(argument)
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        opened.append(driver)
        return driver

    yield start
    for driver in opened:
        driver.quit()


def test_the_clock_of_the_getting_started_page(program, browser):
    server = program(CLOCK)
    page = browser()
    page.get(f"http://localhost:{server.port}/")
    wait_for(lambda: page.execute_script("return seen.length") >= 3, 20)
    times = [float(text) for text in page.execute_script("return seen")]
    assert times == sorted(times)
    server.interrupt()
    wait_for(lambda: page.execute_script("return seen.at(-1)") == "closed 1001 true", 20)
    assert server.wait(10) == 0


def test_what_the_page_says_to_type_into_the_console(program, browser):
    """On a page of the same server, be it "Not Found"."""
    text = (ROOT / "docs" / "getting-started.md").read_text()
    typed = text.split("```javascript\n")[1].split("```")[0]
    source = text.split("```python\n")[1].split("```")[0]
    port = free_port()
    server = program(source, port, [sys.executable, "-m", "flask", "run", "--port", str(port)])
    page = browser()
    page.get(f"http://127.0.0.1:{server.port}/")
    page.execute_script("seen = []; console.log = (...words) => seen.push(...words)")
    page.execute_script(typed)
    wait_for(lambda: page.execute_script("return seen") == ["hello"], 20)


def test_text_and_binary_echo_in_the_browser(program, browser):
    server = program(CLOCK)
    page = browser()
    page.get(f"http://localhost:{server.port}/")
    result = page.execute_async_script("""
        const done = arguments[0], ws = new WebSocket("ws://" + location.host + "/echo");
        const text = "ä€😀".repeat(30000), got = [];
        ws.binaryType = "arraybuffer";
        ws.onopen = () => { ws.send(text); ws.send(new Uint8Array(200000).fill(7)); };
        ws.onmessage = (event) => {
            got.push(event.data);
            if (got.length === 2) ws.close(4242, "enough");
        };
        ws.onclose = (event) => done([
            got[0] === text, got[1].byteLength, new Uint8Array(got[1]).every((b) => b === 7),
            event.code, event.wasClean, ws.extensions,
        ]);
    """)
    extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert result == [True, 200000, True, 4242, True, extension]


def test_an_empty_route_and_an_early_end_close_with_1000(program, browser):
    server = program(CLOCK)
    page = browser()
    page.get(f"http://localhost:{server.port}/")
    result = page.execute_async_script("""
        const done = arguments[0], seen = [];
        const empty = new WebSocket("ws://" + location.host + "/empty");
        empty.onopen = () => seen.push("open");
        empty.onclose = (event) => {
            seen.push(event.code, event.wasClean);
            const once = new WebSocket("ws://" + location.host + "/once");
            once.onopen = () => once.send("one");
            once.onmessage = async (event) => seen.push(await event.data.text());
            once.onclose = (event) => setTimeout(() => done([...seen, event.code, event.wasClean]), 50);
        };
    """)
    assert result == ["open", 1000, True, "one", 1000, True]


def say(page, text):
    page.find_element(By.ID, "text").send_keys(text, Keys.ENTER)


def log(page) -> str:
    return page.find_element(By.ID, "log").text


def test_two_people_chat_in_the_demo(program, browser):
    port = free_port()
    source = (ROOT / "examples/chat/app.py").read_text()
    folder = ROOT / "examples/chat"
    command = [
        sys.executable,
        "-c",
        source.replace("PORT = 6969", f"PORT = {port}").replace(
            "Flask(__name__)", f"Flask('chat', root_path={str(folder)!r})"
        ),
    ]
    program(None, port=port, command=command)
    ann, ben = browser(), browser()
    ann.get(f"http://localhost:{port}/?name=Ann")
    ben.get(f"http://localhost:{port}/?name=Ben")
    for page in (ann, ben):
        wait_for(lambda: page.find_element(By.ID, "members").text == "Ann\nBen", 20)  # noqa: B023
    say(ann, "Does this need a message broker?")
    wait_for(lambda: "broker" in log(ben))
    say(ben, "No. The channels live in the process, in C.")
    say(ben, "<b>And nobody injects HTML.</b>")
    wait_for(lambda: "HTML" in log(ann))
    say(ann, "Then let us ship it.")
    wait_for(lambda: "ship it" in log(ben))
    assert "<b>And nobody" in log(ann)
    wait_for(lambda: ann.find_element(By.ID, "time").text != "--:--:--")
    assert ann.find_element(By.ID, "state").text == "open"
    wait_for(lambda: ann.find_element(By.ID, "connections").text == "4")
    picture = pathlib.Path(SCREENSHOT)
    picture.parent.mkdir(exist_ok=True)
    if not picture.exists():  # make screenshot removes it first
        assert ann.save_screenshot(str(picture))
    # Ben goes to another room: Ann sees him leave, and neither hears the other.
    ben.find_element(By.CSS_SELECTOR, "[data-room=music]").click()
    wait_for(lambda: "Ben left" in log(ann))
    say(ann, "alone now")
    wait_for(lambda: "alone now" in log(ann))
    assert "alone now" not in log(ben)
