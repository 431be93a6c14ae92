"""Echo by websockets, with its default compression (context takeover).

websockets_echo.py PORT [uvloop]
"""

import asyncio
import sys

import certificate
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for data in connection:
        await connection.send(data)


async def main() -> None:
    port, tls = int(sys.argv[1]), certificate.context()
    async with serve(echo, "127.0.0.1", port, ping_interval=None, ssl=tls) as server:
        await server.serve_forever()


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
