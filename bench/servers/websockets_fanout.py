"""Every message goes to all connections, by the broadcast() of websockets, on uvloop."""

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

everybody: set[ServerConnection] = set()


async def share(connection: ServerConnection) -> None:
    everybody.add(connection)
    try:
        async for data in connection:
            broadcast(everybody, data)
    finally:
        everybody.remove(connection)


async def main() -> None:
    port = int(sys.argv[1])
    async with serve(share, "127.0.0.1", port, ping_interval=None, compression=None) as server:
        await server.serve_forever()


uvloop.run(main())
