"""The floor of publish() as Python calls it: a method that does no more than write to the eventfd on
which a C program sleeps, which then goes through as much memory as handing a message to thousands does.

    python bench/wake.py WAKE CALLS INTERVAL_US

WAKE: the built wake.c. Prints {"us": [...]}, the time of each call, from a thread that is not the main
one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time


class Sleeper:
    def __init__(self, program: str) -> None:
        self._descriptor = os.eventfd(0)
        self.process = subprocess.Popen(
            [program, str(self._descriptor)], pass_fds=[self._descriptor], stdin=subprocess.DEVNULL
        )

    def publish(self, data: bytes, channels: str, *, exclude: object = None) -> None:
        os.eventfd_write(self._descriptor, 1)


def main() -> int:
    sleeper = Sleeper(sys.argv[1])
    calls, interval = int(sys.argv[2]), int(sys.argv[3]) / 1e6
    times = []

    def run() -> None:
        for _ in range(calls):
            time.sleep(interval)
            data = time.monotonic_ns().to_bytes(32, "big")
            begun = time.monotonic_ns()
            sleeper.publish(data, "everybody")
            times.append(time.monotonic_ns() - begun)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    sleeper.process.kill()
    sleeper.process.wait()
    print(json.dumps({"us": [ns / 1e3 for ns in times]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
