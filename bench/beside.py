"""The longest echo of few beside many whose callbacks take long, all at once.

    python bench/beside.py [--rounds N] [--crowd N]

The callbacks of a class view that compute share the GIL, and so do all websockets that wait for
them. Here 200 websockets (CROWD) send a message each, at the same moment, whose callback computes for
10 ms or waits for 50 ms; and five others have one short message echoed after the other meanwhile. How
much is known of both makes a difference: how many messages of the five, and of the crowd, were answered
quickly before. Printed is the longest echo of each round, beside the time that the crowd took.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import handshake, serving

SERVER = Path(__file__).resolve().parent / "servers" / "ours_class.py"
FEW = 5
PAUSE = 0.01  # seconds between two echoes of one of the few
FORGOTTEN = 1.2  # seconds after which what was seen of the callbacks of a route counts no more


@dataclass(frozen=True)
class Step:
    title: str
    message: str  # of the crowd
    crowd_knows: int  # how many quick messages before
    few_know: int
    few_path: str = "/mixed"


STEPS = (
    Step("compute 10 ms; another route", "compute 10", 0, 0, "/echo"),
    Step("compute 10 ms; 1 message before", "compute 10", 0, 1),
    Step("compute 10 ms; 20 messages before", "compute 10", 0, 20),
    Step("compute 10 ms, who were quick before; another route", "compute 10", 40, 0, "/echo"),
    Step("wait 50 ms; 1 message before", "wait 50", 0, 1),
    Step("wait 50 ms, who were quick before; another route", "wait 50", 40, 0, "/echo"),
)


def send(connection: socket.socket, text: str) -> None:
    connection.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode())


def receive(connection: socket.socket, text: str) -> None:
    expected = bytes([0x81, len(text)]) + text.encode()
    assert connection.recv(len(expected), socket.MSG_WAITALL) == expected


def echo(connection: socket.socket, times: int) -> None:
    for _ in range(times):
        send(connection, "x")
        receive(connection, "x")


def measure(port: int, step: Step, crowd: int) -> tuple[float, float]:
    """The longest echo, and how long the crowd took; seconds."""
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(handshake(port, "/mixed")) for _ in range(crowd)]
        few = [stack.enter_context(handshake(port, step.few_path)) for _ in range(FEW)]
        for connection in many:
            echo(connection, step.crowd_knows)
        for connection in few:
            echo(connection, step.few_know)
        begun = time.monotonic()
        for connection in many:
            send(connection, step.message)
        took: list[float] = []

        def wait_for_many() -> None:
            for connection in many:
                receive(connection, step.message)
            took.append(time.monotonic() - begun)

        waiting = threading.Thread(target=wait_for_many)
        waiting.start()
        longest = 0.0
        while waiting.is_alive():
            for connection in few:
                since = time.monotonic()
                echo(connection, 1)
                longest = max(longest, time.monotonic() - since)
            time.sleep(PAUSE)
        waiting.join()
    return longest, took[0]


def run(rounds: int, crowd: int, steps: Sequence[Step] = STEPS) -> dict[str, list[tuple[float, float]]]:
    results: dict[str, list[tuple[float, float]]] = {}
    with serving(lambda port: [sys.executable, str(SERVER), str(port)]) as (port, _):
        for number in range(rounds):
            for step in steps:
                said = f"beside, round {number + 1} of {rounds}, {step.title}"
                print(f"\r{said:<100}", end="", flush=True)
                results.setdefault(step.title, []).append(measure(port, step, crowd))
                time.sleep(FORGOTTEN)
    print("\r" + " " * 100 + "\r", end="")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crowd", type=int, default=200)
    options = parser.parse_args()
    print(f"The longest echo beside {options.crowd} callbacks, ms, in each round; what those took, s")
    for title, rounds in run(options.rounds, options.crowd).items():
        echoes = " ".join(f"{longest * 1000:5.0f}" for longest, _ in rounds)
        print(f"  {title:<55} {echoes}   {max(took for _, took in rounds):.2f}")


if __name__ == "__main__":
    main()
