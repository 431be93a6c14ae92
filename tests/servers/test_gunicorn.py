"""gunicorn as operators run it: reloads, recycling, more and fewer workers, workers that are killed,
each under the load of clients that connect again."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import time

import pytest
from conftest import wait_for
from fleet import Fleet
from kinds import gunicorn
from processes import descriptors

#: In `make soak`; a few in `make test`.
RELOADS = int(os.environ.get("FWS_RELOADS", "4"))

WORKERS = {
    "sync": gunicorn("sync", "--workers", "2"),
    "gthread": gunicorn("gthread", "--workers", "2", "--threads", "4"),
    "gevent": gunicorn("gevent", "--workers", "2", "-k", "gevent"),
    "preload": gunicorn("sync-preload", "--workers", "2", "--preload"),
}


def children(pid: int) -> set[int]:
    return {
        int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    }


def sockets(pid: int) -> int:
    files = pathlib.Path(f"/proc/{pid}/fd").iterdir()
    return sum(os.readlink(file).startswith("socket:") for file in files)


#: gunicorn's gevent worker, when it ends, closes its listener while connections that it has accepted
#: have not begun yet. It drops those, and says so with this, before any application is called.
DROPPED = re.compile(
    r"^.*\[ERROR\] Socket error processing request\.\nTraceback (?:.*\n)+?"
    r".*listener\.getsockname\(\)\n(?:.*\n)+?OSError: \[Errno 9\] Bad file descriptor\n",
    re.MULTILINE,
)


def assert_refused_by_gunicorn_alone(server, fleet):
    wait_for(
        lambda: len(DROPPED.findall(server.log)) == sum(fleet.refused.values()), what=fleet.refused
    )


def spoken_of_by_us(log: str) -> str:
    """What in a log is neither gunicorn's own nor an access, nor the record of the end of a connection,
    which the application of the contract asks for."""
    log = DROPPED.sub("", log)
    lines = [line for line in log.splitlines() if "[INFO]" not in line and "GET /echo" not in line]
    # Two workers that write at once may put two such records into one line, and an empty one after it.
    lines = [line for line in lines if line and not re.match(r"WebSocket \S+ of \S+ closed by ", line)]
    return "\n".join(line for line in lines if "SIGKILL" not in line and "[WARNING]" not in line)


@pytest.fixture(params=WORKERS.values(), ids=list(WORKERS))
def server(request, serve):
    one = serve(request.param)
    wait_for(lambda: len(children(one.process.pid)) == 2)
    yield one
    one.kill()


@pytest.fixture
def fleet(server):
    one = Fleet(server.url("/echo"), 200)
    wait_for(lambda: one.connected == 200 and one.echoes > 400, 30, "200 clients")
    yield one
    one.stop()


def settled(server, fleet, old: set[int], workers: int = 2):
    """The old workers are gone, and all clients are with the new ones."""
    wait_for(lambda: not old & children(server.process.pid), 20, "the old workers to end")
    wait_for(lambda: len(children(server.process.pid)) == workers, 20)
    wait_for(lambda: fleet.connected == 200, 20, "all clients to be connected again")


@pytest.mark.timeout(60 + 15 * RELOADS)
def test_rolling_reloads(server, fleet, progress):
    master = server.process.pid
    first = descriptors(master)
    for number in range(RELOADS):
        progress(f"{number} of {RELOADS} reloads, the longest wait {fleet.longest:.2f} s")
        old = children(master)
        fleet.longest = 0.0
        echoes = fleet.echoes
        server.process.send_signal(signal.SIGHUP)
        settled(server, fleet, old)
        wait_for(lambda before=echoes: fleet.echoes > before + 400)
        # Most of it is the start of new workers beside 200 handshakes, on whatever machine this is. One
        # that was left waiting would wait for a time-out: 5 s of the closing handshake, or longer.
        assert fleet.longest < 4.0, fleet.longest
    assert set(fleet.codes) == {1001}, fleet.codes
    assert_refused_by_gunicorn_alone(server, fleet)
    assert descriptors(master) <= first
    fleet.stop()
    server.process.send_signal(signal.SIGTERM)
    assert server.wait(15) == 0
    assert spoken_of_by_us(server.log) == ""


def test_a_worker_is_killed(server, fleet):
    master = server.process.pid
    victim = max(children(master), key=sockets)
    clients = sockets(victim)
    os.kill(victim, signal.SIGKILL)
    settled(server, fleet, {victim})
    echoes = fleet.echoes
    wait_for(lambda: fleet.echoes > echoes + 400)
    # The victim's clients lost their connection; nobody else noticed anything.
    assert set(fleet.codes) == {None}
    assert fleet.codes[None] <= clients
    assert spoken_of_by_us(server.log) == ""


def test_more_and_fewer_workers(server, fleet):
    master = server.process.pid
    server.process.send_signal(signal.SIGTTIN)
    wait_for(lambda: len(children(master)) == 3)
    assert not fleet.codes
    old = children(master)
    server.process.send_signal(signal.SIGTTOU)
    wait_for(lambda: len(children(master)) == 2, 20)
    wait_for(lambda: fleet.connected == 200, 20)
    assert len(old & children(master)) == 2
    assert set(fleet.codes) <= {1001}, fleet.codes
    assert_refused_by_gunicorn_alone(server, fleet)


@pytest.mark.parametrize("options", [[], ["-k", "gevent"]], ids=["sync", "gevent"])
def test_workers_that_are_recycled(serve, options):
    """--max-requests 50: a worker ends after 50 handshakes, and says goodbye to its clients."""
    server = serve(gunicorn("recycled", "--workers", "2", "--max-requests", "50", *options))
    fleet = Fleet(server.url("/echo"), 20)
    try:
        pids = set()

        def third_worker():
            pids.add(server.page("GET", "/pid").text)
            return len(pids) >= 3

        wait_for(third_worker, 20)
        wait_for(lambda: fleet.connected == 20, 20)
        assert set(fleet.codes) <= {1001}, fleet.codes
        assert fleet.longest < 5
    finally:
        fleet.stop()
    assert spoken_of_by_us(server.log.replace('"GET /pid', "GET /echo")) == ""


def test_a_handler_that_does_not_end(serve):
    """One that ignores the close gets WEBSOCKETS_CLOSE_TIMEOUT, and the worker leaves."""
    server = serve(gunicorn("sync"))
    assert server.connect("/sleep").recv() == "asleep"
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.wait(15) == 0
    assert 1.5 < time.monotonic() - begun < 6


@pytest.mark.parametrize("options", [(), ("--threads", "2"), ("-k", "gevent")], ids=" ".join)
def test_a_second_ctrl_c_ends_at_once(serve, options):
    """While a handler sleeps in WEBSOCKETS_CLOSE_TIMEOUT, 2 s."""
    server = serve(gunicorn("interrupted", *options))
    client = server.connect("/sleep")
    client.recv()
    server.interrupt()
    assert client.recv_data() == (8, (1001).to_bytes(2, "big") + b"server shutting down")
    time.sleep(0.3)
    begun = time.monotonic()
    server.interrupt()
    server.wait(10)
    assert time.monotonic() - begun < 1
