"""The broadcast() of websockets to what has connected to /everybody, timed from within, on uvloop. See
ours_channels.py, of whose commands it knows "publish"."""

import asyncio
import json
import sys
import time

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

everybody: set[ServerConnection] = set()


async def publish(channel: str, count: int, interval: float) -> dict[str, list[int]]:
    times, subscribers = [], []
    for _ in range(count):
        begun = time.monotonic_ns()
        broadcast(everybody, begun.to_bytes(32, "big"))
        times.append(time.monotonic_ns() - begun)
        subscribers.append(len(everybody))
        await asyncio.sleep(interval)
    return {"times": times, "subscribers": subscribers}


async def take(connection: ServerConnection) -> None:
    assert connection.request is not None
    if connection.request.path == "/everybody":
        everybody.add(connection)
        await connection.wait_closed()
        everybody.remove(connection)
    async for text in connection:
        await connection.send(json.dumps(await publish(*json.loads(text)["with"])))


async def main() -> None:
    port = int(sys.argv[1])
    async with serve(take, "127.0.0.1", port, ping_interval=None, compression=None) as server:
        await server.serve_forever()


uvloop.run(main())
