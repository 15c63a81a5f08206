"""redis-py with explicit pipelines: what all callers ask for in one turn of the loop goes into one of them.

Its client has no such batching; this is what an application can build from its pipelines.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.adapters import redis_py


class Batching:
    """Calls of a provider; each is a future, settled when the pipeline of its turn has been executed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._asked: list[tuple[asyncio.Future[Any], tuple[Any, ...]]] = []
        self._running: set[asyncio.Task[None]] = set()

    def get(self, key: str) -> asyncio.Future[Any]:
        return self._ask("GET", key)

    def setex(self, key: str, ttl: int, value: str) -> asyncio.Future[Any]:
        return self._ask("SETEX", key, ttl, value)

    def delete(self, key: str) -> asyncio.Future[Any]:
        return self._ask("DEL", key)

    def _ask(self, *command: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._asked:
            loop.call_soon(self._send)
        self._asked.append((future, command))
        return future

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        task = asyncio.create_task(self._execute(asked))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _execute(self, asked: list[tuple[asyncio.Future[Any], tuple[Any, ...]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for _, command in asked:
            pipeline.execute_command(*command)
        try:
            replies = await pipeline.execute()
        except Exception as error:  # whatever it is, the callers have to hear of it
            replies = [error] * len(asked)
        for (future, _), reply in zip(asked, replies, strict=True):
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)


class Library(redis_py.Library):
    options = redis_py.TEXT

    def provider(self, client: Any) -> Batching:
        return Batching(client)
