"""The timed loops. A body is given a store that is open and the items of one caller.

``work`` is what the stopwatch sees: nothing in it but the operations. The rest is outside of it: ``prepare`` once
(it may replace the items), ``reset`` before every run, ``check`` after every block, so that an operation that does
nothing cannot look fast, and ``clean`` at the end. Values and keys are the same objects for every library.
"""

from __future__ import annotations

import json
from time import perf_counter_ns
from typing import Any, TypeVar

T = TypeVar("T")

TTL = 3600
SAMPLE = 20
JSON_OBJECT = {
    "user": {"id": 12345, "name": "Alice Example", "email": "alice@example.com", "active": True},
    "roles": ["admin", "editor", "viewer"],
    "preferences": {"theme": "dark", "language": "en", "page_size": 50, "beta": None},
    "cart": [{"sku": f"SKU-{n:05d}", "quantity": n, "price": 9.95 * n} for n in range(1, 6)],
}


def sample(items: list[T]) -> list[T]:
    """Some of the items, spread over all of them: enough to see that the work was done."""
    return items[:: max(1, len(items) // SAMPLE)]


def is_value(got: Any, value: str) -> bool:
    """Whether that is what was stored; some libraries give back bytes, whatever they were given."""
    return got in (value, value.encode())


class Body:
    """A body that needs no preparation; see the module's text."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        """Once, before the first run."""

    async def reset(self, store: Any, items: list[str]) -> None:
        """Before every run."""

    async def work(self, store: Any, items: list[str]) -> None:
        """The operations, one for each item."""
        raise NotImplementedError

    async def check(self, store: Any, items: list[str]) -> None:
        """After every block; AssertionError if the work was not done."""

    async def clean(self, store: Any, items: list[str]) -> None:
        """Leave the store as it was."""


class ProviderBody(Body):
    """Works on keys of a provider, all with one value."""

    def __init__(self, value: str) -> None:
        self.value = value

    async def fill(self, store: Any, keys: list[str]) -> None:
        for key in keys:
            await store.setex(key, TTL, self.value)

    async def clean(self, store: Any, items: list[str]) -> None:
        for key in items:
            await store.delete(key)

    async def check(self, store: Any, items: list[str]) -> None:
        for key in sample(items):
            assert is_value(await store.get(key), self.value)


class Get(ProviderBody):
    """Read keys that are there."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        await self.fill(store, items)

    async def work(self, store: Any, items: list[str]) -> None:
        get = store.get
        for key in items:
            await get(key)


class SetOver(ProviderBody):
    """Write keys that are there."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        await self.fill(store, items)

    async def work(self, store: Any, items: list[str]) -> None:
        setex, value = store.setex, self.value
        for key in items:
            await setex(key, TTL, value)


class SetNew(SetOver):
    """Write keys that are not there."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        """Nothing: they are not there."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await self.clean(store, items)


class Delete(ProviderBody):
    """Remove keys that are there."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await self.fill(store, items)

    async def work(self, store: Any, items: list[str]) -> None:
        delete = store.delete
        for key in items:
            await delete(key)

    async def check(self, store: Any, items: list[str]) -> None:
        for key in sample(items):
            assert not await store.get(key)  # None, or no bytes


class Expiry(ProviderBody):
    """Write keys that live a second, on a clock that runs a second in ``PER_SECOND`` writes.

    The store is a ``MovedClock``'s: each write but the first ones makes another key expire, which has to be reclaimed.
    """

    PER_SECOND = 2_000

    async def reset(self, store: Any, items: list[str]) -> None:
        store.now += 10.0

    async def work(self, store: Any, items: list[str]) -> None:
        setex, value, step = store.provider.setex, self.value, 1 / self.PER_SECOND
        for key in items:
            store.now += step
            await setex(key, 1, value)

    async def check(self, store: Any, items: list[str]) -> None:
        assert await store.provider.get(items[-1]) == self.value
        assert await store.provider.get(items[0]) is None

    async def clean(self, store: Any, items: list[str]) -> None:
        """Nothing: the store is this workload's own."""


class Bare(Body):
    """Await a function that does nothing."""

    async def work(self, store: Any, items: list[str]) -> None:
        nothing = store.nothing
        for key in items:
            await nothing(key)


class Cycle(Delete):
    """Write a new key, read it, remove it; ``latencies`` is the same with a clock, for a pass of its own."""

    async def reset(self, store: Any, items: list[str]) -> None:
        """Nothing: a cycle leaves nothing."""

    async def work(self, store: Any, items: list[str]) -> None:
        setex, get, delete, value = store.setex, store.get, store.delete, self.value
        for key in items:
            await setex(key, TTL, value)
            await get(key)
            await delete(key)

    async def check(self, store: Any, items: list[str]) -> None:
        """The keys are gone, which says little: so it is also seen that each of the three calls does something."""
        await super().check(store, items)
        for key in sample(items):
            await store.setex(key, TTL, self.value)
            assert is_value(await store.get(key), self.value)
            assert await store.delete(key)
        await super().check(store, items)

    async def latencies(self, store: Any, items: list[str], cycles: list[int], calls: list[int]) -> None:
        """Append the nanoseconds of each cycle, and of each call in it."""
        value = self.value
        for key in items:
            start = perf_counter_ns()
            await store.setex(key, TTL, value)
            stored = perf_counter_ns()
            got = await store.get(key)
            read = perf_counter_ns()
            deleted = await store.delete(key)
            end = perf_counter_ns()
            cycles.append(end - start)
            calls += (stored - start, read - stored, end - read)
            assert got == value
            assert deleted


class SetJson(ProviderBody):
    """Write an object as JSON; making the text is part of it."""

    def __init__(self) -> None:
        super().__init__(json.dumps(JSON_OBJECT))

    async def work(self, store: Any, items: list[str]) -> None:
        setex, dumps = store.setex, json.dumps
        for key in items:
            await setex(key, TTL, dumps(JSON_OBJECT))


class GetJson(Get):
    """Read an object back; parsing the text is part of it."""

    def __init__(self) -> None:
        super().__init__(json.dumps(JSON_OBJECT))

    async def work(self, store: Any, items: list[str]) -> None:
        get, loads = store.get, json.loads
        for key in items:
            loads(await get(key))

    async def check(self, store: Any, items: list[str]) -> None:
        for key in sample(items):
            assert json.loads(await store.get(key)) == JSON_OBJECT
