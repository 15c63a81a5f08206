"""An exception at each call that the map makes: no key is left that is in no bucket, and the map goes on."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from tests.support.helpers import Clock
from tests.support.interruptions import interruptions

if TYPE_CHECKING:
    from collections.abc import Callable


def run(coroutine: Any) -> None:
    """An operation of the map never suspends."""
    with suppress(StopIteration):
        coroutine.send(None)


def own(items: ExpiringMap) -> None:
    """As an owner does that puts an entry there by itself."""
    entry = ("owned", items.clock() + 5, items.clock() + 5)
    items.items["owned"] = entry
    items.account("owned", entry, False)


def live_on(items: ExpiringMap) -> None:
    """Its bucket comes up before its deadline."""
    run(items.setex("k5", 300, 1))
    expire(items)


def expire(items: ExpiringMap) -> None:
    later(items, 60)
    list(items.sweep())


def later(items: ExpiringMap, seconds: float) -> None:
    clock = items.clock
    assert isinstance(clock, Clock)
    clock.move(seconds)


def reclaim(items: ExpiringMap) -> None:
    later(items, 60)
    items.reclaim(1000, items.clock())


CHANGES: dict[str, Callable[[ExpiringMap], object]] = {
    "a new key in a second of its own": lambda items: run(items.setex("new", 30, 1)),
    "a new key in the second of the last": lambda items: run(items.setex("new", 21.5, 1)),
    "an earlier deadline": lambda items: run(items.setex("k5", 3, 1)),
    "a later deadline": lambda items: run(items.setex("k5", 300, 1)),
    "account": own,
    "reclaim": reclaim,
    "sweep": expire,
    "a bucket of a key that lives on": live_on,
}


def filed(items: ExpiringMap) -> set[tuple[Any, float]]:
    """What is in the buckets whose second is in the heap."""
    buckets = [items._buckets[second] for second in set(items._heap) if second in items._buckets]
    assert len(buckets) == len(items._buckets)
    return {(key, filing) for bucket in buckets for key, filing in zip(bucket[::2], bucket[1::2], strict=True)}


@pytest.mark.parametrize("most", [None, 12])
@pytest.mark.parametrize("change", CHANGES)
def test_every_key_is_in_a_bucket(change: str, most: int | None) -> None:
    for interruption in interruptions():
        clock = Clock(1000.0)
        items = ExpiringMap(clock, most)
        items.on_end = items.on_new_second = lambda *_: None
        for number in range(12):
            run(items.setex(f"k{number}", 10 + number, number))
        with interruption:
            CHANGES[change](items)
        here = filed(items)
        assert all((key, entry[2]) in here for key, entry in items.items.items())
        assert items._due <= min(items._heap, default=math.inf) + 1
        run(items.setex("after", 1, 1))
        clock.move(1000)
        assert len(list(items.sweep())) > 0
        assert len(items) == 0
        run(items.setex("again", 10, 1))
        assert items.live("again") is not None
