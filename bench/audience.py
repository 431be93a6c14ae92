"""Many connections that read what is published, in a process of its own.

    python bench/audience.py PORT PATH CONNECTIONS

Says "ready" when they are open. When its standard input ends, and nothing more has come for half a
second, prints one line of JSON: for each message, in the order in which they were published, how many
had it and how many nanoseconds after its time the last one did. A message is 32 bytes, its time of
CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import select
import sys
import time

from measuring import handshake

HEADER = b"\x82\x20"  # a binary message of 32 bytes, not masked
SIZE = len(HEADER) + 32


def main() -> int:
    port, path, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    connections = {(c := handshake(port, path)).fileno(): c for _ in range(count)}
    epoll = select.epoll()
    for descriptor, connection in connections.items():
        connection.setblocking(False)
        epoll.register(descriptor, select.EPOLLIN)
    epoll.register(sys.stdin, select.EPOLLIN)
    print("ready", flush=True)
    seen: dict[bytes, list[int]] = {}  # by time: how many have it, and since when the last
    rest: dict[int, bytes] = {}
    ending = False
    while events := epoll.poll(0.5 if ending else None):
        for descriptor, _ in events:
            if descriptor not in connections:
                epoll.unregister(descriptor)
                ending = True
                continue
            data = rest.pop(descriptor, b"") + connections[descriptor].recv(65536)
            now = time.monotonic_ns()
            while len(data) >= SIZE:
                assert data.startswith(HEADER), f"not what was published: {data[:SIZE]!r}"
                entry = seen.setdefault(data[2:SIZE], [0, 0])
                entry[0] += 1
                entry[1] = now
                data = data[SIZE:]
            if data:
                rest[descriptor] = data
    messages = [
        (n, last - int.from_bytes(time_of, "big")) for time_of, (n, last) in sorted(seen.items())
    ]
    print(json.dumps(messages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
