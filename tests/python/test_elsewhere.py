"""A publish() in a process that no websocket can be connected to is said, once; and never in one that
serves, or may."""

from __future__ import annotations

import sys

from conftest import free_port, run_to_the_end, wait_for

APP = """
import threading, time
from flask import Flask
from flask_websockets import WebSockets

app = Flask(__name__)
websockets = WebSockets(app)

@websockets.route("/ws")
def ws_(ws):
    ws.receive()

@app.get("/publish")
def publish():
    return str(websockets.publish("news", "channel"))
"""

#: A thread that publishes from the import on.
CLOCK = """
def clock():
    while True:
        websockets.publish("tick", "channel")
        time.sleep(0.05)

threading.Thread(target=clock, daemon=True).start()
"""

RUN = """
if __name__ == "__main__":
    app.run(port=PORT, OPTIONS)
"""

SAID = "to which no websocket can be connected"


def test_a_command_of_the_command_line():
    done = run_to_the_end(
        APP
        + """
@app.cli.command("import-news")
def import_news():
    for _ in range(3):
        assert websockets.publish("news", "channel") == 0

app.cli.main(["import-news"], obj=__import__("flask.cli").cli.ScriptInfo(create_app=lambda: app),
             standalone_mode=False)
"""
    )
    assert done.stderr.count(SAID) == 1
    assert "the command" in done.stderr and "import-news" in done.stderr


def test_a_process_of_a_pool(tmp_path):
    done = run_to_the_end(
        f"""
import pathlib, sys
sys.path.insert(0, {str(tmp_path)!r})
pathlib.Path({str(tmp_path / "jobs.py")!r}).write_text({APP + "job = lambda: None"!r} + '''
def job():
    return websockets.publish("news", "channel")
''')
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
import jobs
with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
    assert [executor.submit(jobs.job).result() for _ in range(3)] == [0, 0, 0]
jobs.job()  # this process may serve later
"""
    )
    assert done.stderr.count(SAID) == 1
    assert "ProcessPoolExecutor" in done.stderr


def test_a_celery_worker():
    """As far as its frames tell: a function of the module that runs tasks."""
    done = run_to_the_end(
        APP
        + """
task = {"__name__": "celery.app.trace", "publish": websockets.publish}
exec("def trace_task(): publish('news', 'channel')", task)
for _ in range(3):
    task["trace_task"]()
    time.sleep(0.4)
with app.test_request_context():  # a task that a page runs itself
    task["trace_task"]()
"""
    )
    assert done.stderr.count(SAID) == 1
    assert "a Celery worker" in done.stderr


def test_a_program_that_publishes_before_it_serves_is_left_alone():
    done = run_to_the_end(APP + "assert websockets.publish('news', 'channel') == 0")
    assert SAID not in done.stderr


def test_a_server_that_has_no_client_yet_is_left_alone(program):
    server = program(APP + CLOCK + RUN.replace("OPTIONS", "threaded=True"))
    client = server.connect("/ws")
    client.close()
    assert SAID not in server.log


def test_a_task_that_runs_in_the_server_is_left_alone(program):
    """In another thread than a page's: celery's own pool of threads, say."""
    eager = """
task = {"__name__": "celery.app.trace", "publish": websockets.publish}
exec("def trace_task(): publish('news', 'channel')", task)

def tasks():
    while True:
        time.sleep(0.5)
        task["trace_task"]()
        print("a task has run", flush=True)

threading.Thread(target=tasks, daemon=True).start()
"""
    server = program(APP + eager + RUN.replace("OPTIONS", "threaded=True"))
    wait_for(lambda: server.log.count("a task has run") >= 3, 20, "the tasks to run")
    assert SAID not in server.log


def test_the_parent_of_the_reloader(program):
    server = program(APP + CLOCK + RUN.replace("OPTIONS", "use_reloader=True"))
    wait_for(lambda: SAID in server.log, 20, "the warning")
    server.connect("/ws").close()
    assert server.log.count(SAID) == 1
    assert f"the parent process of Werkzeug's reloader (pid {server.process.pid})" in server.log


def test_the_master_of_gunicorn(program):
    port = free_port()
    options = ["--preload", "--no-control-socket", "-b", f"127.0.0.1:{port}", "-w", "2"]
    command = [sys.executable, "-m", "gunicorn", *options, "app:app"]
    server = program(APP + CLOCK, port, command)
    wait_for(lambda: SAID in server.log, 20, "the warning")
    server.connect("/ws").close()
    assert server.log.count(SAID) == 1
    assert f"the master process of gunicorn (pid {server.process.pid})" in server.log
