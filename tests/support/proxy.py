"""A TCP proxy before a real server, for the faults that a server does not have by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from tests.support.listening import listening

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

PIECE = 1 << 16  # bytes


class Proxy:
    """Forwards bytes both ways, in one of these ways:

    * `passing` bytes of replies more are let through; then come the bytes of `garbage`, or else the connection is cut;
    * replies are dropped while `swallowing`, which begins after `swallow_after` more, at `swallowed_at`;
    * requests pass at `rate` bytes a second, on each connection;
    * connections that are open at `forget` lead nowhere from then on, and nobody is told; new ones work;
    * replies wait while `holding`, until `release` lets some bytes through;
    * replies are late by `delay` seconds;
    * `cut_after` replies more that come by themselves are let through, and each that comes then ends its connection.
    """

    def __init__(self, host: str, port: int, rate: int | None = None) -> None:
        self._target = (host, port)
        # With a rate, the system may not take what we do not.
        buffer = None if rate is None else PIECE
        self._listening: AbstractAsyncContextManager[str] = listening(self._link, receive_buffer=buffer, limit=PIECE)
        self._address = ""
        self._links: set[asyncio.Task[None]] = set()
        self._forgotten: set[asyncio.Task[None]] = set()
        self._rate = rate
        self.passing: int | None = None
        self.garbage = b""
        self.swallowing = False
        self.swallow_after: int | None = None
        self.swallowed_at: float | None = None  # by the clock of the loop
        self.holding = False
        self.delay = 0.0
        self.cut_after: int | None = None
        self._held = bytearray()
        self._writer: asyncio.StreamWriter | None = None  # to whom the held bytes go
        self.accepted = 0
        self.requests = bytearray()

    async def __aenter__(self) -> Self:
        self._address = await self._listening.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listening.__aexit__(None, None, None)

    @property
    def url(self) -> str:
        return f"redis://{self._address}"

    def lead_to(self, host: str, port: int) -> None:
        """Have new connections go there, as a name does that was changed; those that are open stay."""
        self._target = (host, port)

    def drop_held(self) -> None:
        """Forget the bytes that wait."""
        self._held.clear()

    def cut(self) -> None:
        """End every connection."""
        for link in self._links:
            link.cancel()

    def forget(self) -> None:
        """Drop what comes over the connections that are open now, either way, without a word: as a middlebox does."""
        self._forgotten |= self._links

    def release(self, size: int) -> None:
        """Let so many of the bytes that wait through, or as many as there are."""
        data = self._held[:size]
        del self._held[:size]
        if self._writer is not None:
            self._writer.write(data)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            replies, upstream = await asyncio.open_connection(*self._target)
            requests = asyncio.create_task(self._forward_requests(task, reader, upstream))
            try:
                await self._forward_replies(task, replies, writer)
            finally:
                requests.cancel()
                await asyncio.gather(requests, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(task)
            self._forgotten.discard(task)
            for stream in (writer, upstream):
                if stream is not None:
                    stream.transport.abort()

    async def _forward_requests(
        self, link: asyncio.Task[None], reader: asyncio.StreamReader, upstream: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(PIECE):
            if link in self._forgotten:
                continue
            if self._rate is not None:
                await asyncio.sleep(len(data) / self._rate)
            self.requests += data
            upstream.write(data)
            await upstream.drain()

    async def _forward_replies(
        self, link: asyncio.Task[None], replies: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await replies.read(65536):
            if self.swallow_after is not None:
                self.swallow_after -= 1
                if self.swallow_after == 0:
                    self.swallowing, self.swallow_after = True, None
                    self.swallowed_at = asyncio.get_running_loop().time()
            if self.swallowing or link in self._forgotten:
                continue
            if self.holding:
                self._held += data
                self._writer = writer
                continue
            if self.cut_after is not None:
                if self.cut_after == 0:
                    return
                self.cut_after -= 1
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.passing is not None:
                data = data[: self.passing]
                self.passing -= len(data)
            done = self.passing == 0
            writer.write(data + self.garbage if done else data)
            await writer.drain()
            if done and not self.garbage:
                return
            if done:
                self.passing, self.garbage = None, b""
