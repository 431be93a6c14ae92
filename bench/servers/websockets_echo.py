"""Echo by websockets, with its default compression (context takeover).

websockets_echo.py PORT [uvloop]
"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for data in connection:
        await connection.send(data)


async def main() -> None:
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), ping_interval=None) as server:
        await server.serve_forever()


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
