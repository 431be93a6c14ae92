"""Clients that mean no good, many at once.

python fleet.py PORT CONNECTIONS SECONDS

Each connection does one kind of harm until it is thrown out, and then comes again. Prints a JSON object
at the end: how often each kind connected, and how often it failed to.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
MASK = b"\x01\x02\x03\x04"
#: What does not compress: the echo has as many bytes.
MESSAGE = b"\x82\xff" + (100_000).to_bytes(8, "big") + MASK + random.randbytes(100_000)
TEXT = b"\x81\x8b" + bytes(4) + b"hello world"
PINGS = (b"\x89\x84" + MASK + b"ping") * 500
CLOSE = b"\x88\x82" + bytes(4) + b"\x03\xe8"

chance = random.Random(1)


class Client:
    """One connection; every wait ends with the attack."""

    def __init__(self, port: int, deadline: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.port = port
        self.deadline = deadline
        self.socket = socket.socket()
        self.socket.setblocking(False)

    @property
    def going(self) -> bool:
        return time.monotonic() < self.deadline

    async def connect(self, receive_buffer: int | None = None) -> None:
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await self.loop.sock_connect(self.socket, ("127.0.0.1", self.port))

    async def upgrade(self, receive_buffer: int | None = None) -> None:
        await self.connect(receive_buffer)
        await self.send(HANDSHAKE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await self.receive()

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(self.loop.sock_sendall(self.socket, data), self.left())

    async def receive(self) -> bytes:
        data = await asyncio.wait_for(self.loop.sock_recv(self.socket, 65536), self.left())
        if not data:
            raise ConnectionError("end of the stream")
        return data

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, self.left()))

    def left(self) -> float:
        return max(0.01, self.deadline - time.monotonic())

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


async def slow_handshake(client: Client) -> None:
    await client.connect()
    for i in range(len(HANDSHAKE)):
        await client.send(HANDSHAKE[i : i + 1])
        await client.pause(chance.uniform(0.05, 0.5))


async def byte_at_a_time(client: Client) -> None:
    await client.upgrade()
    while client.going:
        for i in range(len(TEXT)):
            await client.send(TEXT[i : i + 1])
            await client.pause(0.2)
        await client.receive()


async def never_reads(client: Client) -> None:
    await client.upgrade(receive_buffer=4096)
    while client.going:
        await client.send(MESSAGE)
        await client.pause(0.25)


async def ping_flood(client: Client) -> None:
    await client.upgrade()
    while client.going:
        await client.send(PINGS)
        await client.pause(0.3)
        with contextlib.suppress(BlockingIOError):
            client.socket.recv(65536)


async def garbage(client: Client) -> None:
    if chance.random() < 0.5:
        await client.upgrade()
    else:
        await client.connect()
    while client.going:
        await client.send(chance.randbytes(chance.randrange(1, 2000)))
        await client.pause(chance.uniform(0, 3))


async def reset_in_mid_frame(client: Client) -> None:
    await client.upgrade()
    await client.send(TEXT + MESSAGE[: chance.randrange(1, 50_000)])
    await client.pause(chance.uniform(0, 4))
    client.reset()


async def ignores_the_close(client: Client) -> None:
    await client.upgrade()
    await client.send(CLOSE)
    while client.going:
        await client.send(TEXT)
        await client.pause(0.1)


async def half_closes(client: Client) -> None:
    await client.upgrade()
    await client.send(TEXT)
    client.socket.shutdown(socket.SHUT_WR)
    while client.going:
        await client.receive()


async def tiny_fragments(client: Client) -> None:
    await client.upgrade()
    await client.send(b"\x01\x80" + MASK)
    while client.going:
        await client.send((b"\x00\x80" + MASK) * 200)
        await client.pause(0.2)


async def broken_compression(client: Client) -> None:
    await client.upgrade()
    size = chance.randrange(1, 120)
    await client.send(bytes([0xC2, 0x80 | size]) + bytes(4) + chance.randbytes(size))
    while client.going:
        await client.receive()


KINDS: tuple[Callable[[Client], Awaitable[None]], ...] = (
    slow_handshake,
    byte_at_a_time,
    never_reads,
    ping_flood,
    garbage,
    reset_in_mid_frame,
    ignores_the_close,
    half_closes,
    tiny_fragments,
    broken_compression,
)


async def attack(
    kind: Callable[[Client], Awaitable[None]], port: int, deadline: float, counts: collections.Counter
) -> None:
    await asyncio.sleep(chance.uniform(0, 10))
    while time.monotonic() < deadline:
        client = Client(port, deadline)
        counts[kind.__name__] += 1
        try:
            await kind(client)
        except (OSError, asyncio.TimeoutError):
            pass  # thrown out, which is right, or the end of the attack
        finally:
            client.socket.close()
        await asyncio.sleep(chance.uniform(1, 5))


async def main(port: int, connections: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    counts: collections.Counter = collections.Counter()
    attacks = [attack(KINDS[i % len(KINDS)], port, deadline, counts) for i in range(connections)]
    await asyncio.gather(*attacks)
    print(json.dumps(counts))


if __name__ == "__main__":
    os.nice(10)  # as if it were elsewhere: what it computes is not to take the server's cores
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
