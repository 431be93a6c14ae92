"""Echo by an ASGI application.

asgi_echo.py PORT uvicorn|granian
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]


async def app(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        answer = {name: event[name] for name in ("bytes", "text") if event.get(name) is not None}
        await send({"type": "websocket.send", **answer})


def main(port: int, server: str) -> None:
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", log_level="error")
    else:
        from granian.constants import Interfaces
        from granian.server.embed import Server

        served = Server(app, "127.0.0.1", port, interface=Interfaces.ASGI, log_enabled=False)
        with asyncio.Runner(loop_factory=_uvloop()) as runner:
            runner.run(served.serve())


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
