"""redis-py's asyncio client as it is without any argument but the URL: a pool of at most 100 connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.adapters.redis_py import Provider
from benchmarks.adapters.refusal import redis_only
from benchmarks.workloads.case import Kind, Layer


class Library:
    """One client, shared by all callers."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        from redis.asyncio import Redis

        redis_only(layer, kind)
        async with Redis.from_url(self._urls[kind], decode_responses=True) as client:
            yield Provider(client)
