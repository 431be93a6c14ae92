"""Echo by picows on uvloop: event-driven, no Flask, the fastest WebSocket library in Python."""

import sys

import certificate
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


def listener(request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def main() -> None:
    tls = certificate.context()
    server = await ws_create_server(listener, "127.0.0.1", int(sys.argv[1]), ssl=tls)
    await server.serve_forever()


uvloop.run(main())
