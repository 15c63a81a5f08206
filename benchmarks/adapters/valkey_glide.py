"""valkey-glide, whose core is in Rust. Values come back as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from benchmarks.adapters import library
from benchmarks.workloads.case import Kind


class Provider(library.DeletesLists):
    def __init__(self, client: Any, lifetime: Any) -> None:
        super().__init__(client)
        self._lifetime = lifetime

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        return self._set(key, value, expiry=self._lifetime(ttl))


class Library(library.Library):
    @asynccontextmanager
    async def on_server(self, kind: Kind) -> AsyncIterator[Any]:
        url = urlsplit(self.urls[kind])
        glide = import_module("glide")
        node = glide.NodeAddress(url.hostname or "127.0.0.1", url.port or 6379)
        client = await glide.GlideClient.create(glide.GlideClientConfiguration([node]))
        try:
            yield Provider(client, lambda ttl: glide.ExpirySet(glide.ExpiryType.SEC, ttl))
        finally:
            await client.close()
