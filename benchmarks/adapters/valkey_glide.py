"""valkey-glide, whose core is in Rust. Values come back as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from benchmarks.adapters.refusal import redis_only
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's."""

    def __init__(self, client: Any, lifetime: Any) -> None:
        self.get = client.get
        self._set = client.set
        self._delete = client.delete
        self._lifetime = lifetime

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        command: Awaitable[Any] = self._set(key, value, expiry=self._lifetime(ttl))
        return command

    def delete(self, key: str) -> Awaitable[Any]:
        command: Awaitable[Any] = self._delete([key])
        return command


class Library:
    """One client, shared by all callers."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        redis_only(layer, kind)
        url = urlsplit(self._urls[kind])
        glide = import_module("glide")
        node = glide.NodeAddress(url.hostname or "127.0.0.1", url.port or 6379)
        client = await glide.GlideClient.create(glide.GlideClientConfiguration([node]))
        try:
            yield Provider(client, lambda ttl: glide.ExpirySet(glide.ExpiryType.SEC, ttl))
        finally:
            await client.close()
