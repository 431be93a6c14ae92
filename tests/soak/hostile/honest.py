"""Clients that only want their echo.

python honest.py PORT CONNECTIONS SECONDS

Each sends a numbered message ten times a second, whether the last has come back or not. Prints a JSON
object at the end: messages sent, messages that came back in order, and latencies in seconds.
"""

from __future__ import annotations

import json
import pathlib
import selectors
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import wire

INTERVAL = 0.1


class Client:
    def __init__(self, port: int, first: float) -> None:
        self.socket = wire.connect(port, "/echo", timeout=30)
        self.socket.setblocking(False)
        self.due = first
        self.waiting: dict[int, float] = {}
        self.sent = self.received = 0
        self.buffer = b""

    def send(self, now: float) -> None:
        # From when it should have gone out: a late sender does not hide a late server.
        self.waiting[self.sent] = self.due
        self.due += INTERVAL
        self.socket.sendall(wire.frame(2, b"%08d" % self.sent))
        self.sent += 1

    def receive(self, latencies: list[float]) -> None:
        self.buffer += self.socket.recv(65536)
        now = time.monotonic()
        while len(self.buffer) >= 2:
            size = self.buffer[1]
            if len(self.buffer) < 2 + size:
                return
            first, payload, self.buffer = (
                self.buffer[0],
                self.buffer[2 : 2 + size],
                self.buffer[2 + size :],
            )
            if first == 0x89:  # the server looks whether we are there
                self.socket.sendall(wire.frame(0xA, payload))
                continue
            assert first == 0x82 and int(payload) == self.received, (first, payload)
            latencies.append(now - self.waiting.pop(self.received))
            self.received += 1


def main(port: int, connections: int, seconds: float) -> None:
    begun = time.monotonic() + 1
    clients = [Client(port, begun + i * INTERVAL / connections) for i in range(connections)]
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    latencies: list[float] = []
    end = begun + seconds
    grace = end + 5  # for what is still under way
    while time.monotonic() < grace:
        now = time.monotonic()
        for client in clients:
            while client.due <= now and client.due < end:
                client.send(now)
        if now > end and not any(client.waiting for client in clients):
            break
        soonest = min(client.due for client in clients)
        for key, _ in selector.select(max(0.0, min(soonest - time.monotonic(), 0.05))):
            key.data.receive(latencies)
    result = {
        "sent": sum(client.sent for client in clients),
        "received": sum(client.received for client in clients),
        "max": max(latencies),
        "p99": statistics.quantiles(latencies, n=100)[98],
        "median": statistics.median(latencies),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
