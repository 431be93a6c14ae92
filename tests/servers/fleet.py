"""Clients that echo, and connect again whenever their connection ends, as those of a web page do."""

from __future__ import annotations

import asyncio
import collections
import threading
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage


class Fleet:
    """Clients in a thread of their own.

    :ivar codes: how often a connection ended with a close code; None: without a close.
    :ivar handshakes: how many were accepted.
    :ivar refused: handshakes that got no 101, by what they got instead.
    :ivar longest: the longest that a client was without an echo, seconds.
    """

    def __init__(
        self, url: str, count: int, pause: float = 0.05, headers: dict[str, str] | None = None
    ) -> None:
        self.codes: collections.Counter[int | None] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.longest = 0.0
        self.handshakes = 0
        self.echoes = 0
        self.connected = 0
        self._url = url
        self._count = count
        self._pause = pause
        self._headers = headers or {}
        self._stopping = False
        self._heard_at: dict[object, float] = {}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()

    def echo_of(self, answer: str | bytes) -> str | bytes:
        """What of an answer must be as it was sent."""
        return answer

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._count)))

    async def _client(self) -> None:
        self._heard_at[asyncio.current_task()] = time.monotonic()
        while not self._stopping:
            try:
                async with connect(
                    self._url,
                    open_timeout=10,
                    ping_interval=None,
                    proxy=None,
                    additional_headers=self._headers,
                ) as ws:
                    self.connected += 1
                    self.handshakes += 1
                    try:
                        await self._echo(ws)
                    finally:
                        self.connected -= 1
            except ConnectionClosed as error:
                self.codes[error.rcvd.code if error.rcvd else None] += 1
            except (OSError, InvalidHandshake, InvalidMessage, EOFError) as error:
                self.refused[repr(error)] += 1
                await asyncio.sleep(0.05)

    async def _echo(self, ws) -> None:
        task = asyncio.current_task()
        number = 0
        while not self._stopping:
            await ws.send(f"{id(ws)} {number}")
            assert self.echo_of(await ws.recv()) == f"{id(ws)} {number}"
            now = time.monotonic()
            self.longest = max(self.longest, now - self._heard_at[task])
            self._heard_at[task] = now
            number += 1
            self.echoes += 1
            await asyncio.sleep(self._pause)
