"""Echo by socketify: Python callbacks in uWebSockets, by cffi."""

import sys
from typing import Any

from socketify import App, AppListenOptions, OpCode


def echo(ws: Any, message: str | bytes, opcode: OpCode) -> None:
    ws.send(message, opcode)


app = App()
app.ws("/*", {"max_payload_length": 1 << 20, "idle_timeout": 120, "message": echo})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda _: None)
app.run()
