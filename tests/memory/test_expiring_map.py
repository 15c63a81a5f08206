"""ExpiringMap against a plain dict, under random operations and clock moves; and its index, looked at from inside.

The constants that keep small maps from compacting are made small, so that a few keys reach every path.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chuk_sessions.providers.memory import expiring_map, session_map
from chuk_sessions.providers.memory.expiring_map import Entry, ExpiringMap
from chuk_sessions.providers.memory.session_map import SessionMap
from tests.support.examples import examples
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from chuk_sessions.providers.memory.session import StoredSession

KEYS = st.integers(0, 5)
TTLS = st.one_of(st.sampled_from([-1.0, 0.0, 0.25, 1.0, 5.0, 100.0, 100_000.0]), st.floats(-1, 300), st.integers(1, 20))
MOVES = st.one_of(st.sampled_from([0.01, 0.5, 1.0, 2.0, 30.0, 1000.0]), st.floats(0, 10))


def deadline_of(entry: Entry) -> float:
    """When the key of that entry expires."""
    return max(entry[1], entry[2])


def end_of(session: StoredSession) -> float:
    """When that session of a map expires."""
    return max(session.bound, session.filing)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of an operation, which must not have suspended."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("an operation has suspended")


def shrink_constants(spare: int, slice_: int) -> ExitStack:
    """Make compaction and slicing happen with a handful of keys, until what this gives is closed."""
    small = {
        "SPARE_FILINGS": spare,
        "CLEAR_CREDIT": spare // 4,
        "SPARE_SECONDS": 1,
        "COMPACT_EVERY": 0,
        "RECLAIM_SLICE": slice_,
        "SWEEP_SLICE": slice_,
    }
    patches = ExitStack()
    for module in (expiring_map, session_map):
        patches.enter_context(
            mock.patch.dict(vars(module), {name: small[name] for name in small if hasattr(module, name)})
        )
    return patches


def check_index(items: ExpiringMap, spare: int, spare_seconds: int) -> None:
    """What the module's documentation says of the index, looked at from inside."""
    filings = check_filings(items, spare_seconds)
    assert items.stale == filings - len(items.items)
    assert 0 <= items.stale <= 2 * len(items.items) + 2 * spare


def check_filings(items: ExpiringMap, spare_seconds: int) -> int:
    """Each held key is filed validly exactly once, at or before its deadline, under a second of the heap.

    Gives the number of filings, stale ones included.
    """
    filings = [
        (second, bucket[i], bucket[i + 1])
        for second, bucket in items._buckets.items()
        for i in range(0, len(bucket), 2)
    ]
    entries = items.items
    valid = [(second, key) for second, key, at in filings if key in entries and items.filing_of(entries[key]) is at]
    assert Counter(key for _, key in valid) == Counter(list(entries))
    end: Any = end_of if isinstance(items, SessionMap) else deadline_of
    assert all(second <= end(entries[key]) for second, key in valid)
    heap = items._heap
    assert set(items._buckets) <= set(heap)
    assert all(heap[(i - 1) // 2] <= heap[i] for i in range(1, len(heap)))
    assert len(heap) <= 2 * len(items._buckets) + spare_seconds + 1
    assert items.due == (heap[0] + 1.0 if heap else math.inf)
    assert all(items._buckets.values())
    return len(filings)


class AgainstADict(RuleBasedStateMachine):
    """The model is `key -> (value, deadline)` and forgets nothing but what was deleted."""

    @initialize(spare=st.sampled_from([0, 1, 4, 16]), slice_=st.sampled_from([1, 2, 5, 256]))
    def start(self, spare: int, slice_: int) -> None:
        self.spare = spare
        self.patch = shrink_constants(spare, slice_)
        self.clock = Clock(0.0)
        self.map = ExpiringMap(self.clock)
        self.model: dict[int, tuple[object, float]] = {}

    def teardown(self) -> None:
        self.patch.close()

    def is_live(self, key: int) -> bool:
        return key in self.model and self.model[key][1] > self.clock.now

    @rule(key=KEYS, ttl=TTLS)
    def setex(self, key: int, ttl: float) -> None:
        value = object()
        self.model[key] = (value, self.clock.now + ttl)
        assert run(self.map.setex(key, ttl, value)) is None

    @rule(first=KEYS, count=st.integers(1, 40), ttl=TTLS)
    def setex_many(self, first: int, count: int, ttl: float) -> None:
        for key in range(first, first + count):
            self.setex(key, ttl)

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        """What lives is reported as deleted; of what has expired, the map may or may not know any more."""
        live, held = self.is_live(key), key in self.map.items
        assert run(self.map.delete(key)) is held
        assert held or not live
        self.model.pop(key, None)

    @rule(first=KEYS, count=st.integers(1, 40))
    def delete_many(self, first: int, count: int) -> None:
        for key in range(first, first + count):
            self.delete(key)

    @rule(seconds=MOVES)
    def time_passes(self, seconds: float) -> None:
        self.clock.move(seconds)

    @rule()
    def sweep(self) -> None:
        """A whole sweep removes what has expired, all of it and nothing else, and counts it."""
        held = len(self.map)
        removed = sum(self.map.sweep())
        assert held - removed == len(self.map)
        assert set(self.map.items) == {key for key in self.model if self.is_live(key)}

    @rule(steps=st.integers(1, 3))
    def sweep_a_little(self, steps: int) -> None:
        """A sweep may be dropped half way."""
        sweep = self.map.sweep()
        for _ in range(steps):
            next(sweep, None)

    @rule(limit=st.integers(1, 20))
    def reclaim(self, limit: int) -> None:
        held = len(self.map)
        assert held - self.map.reclaim(limit, self.clock.now) == len(self.map)

    @invariant()
    def reads_equal_the_model(self) -> None:
        for key, (value, _) in self.model.items():
            assert run(self.map.get(key)) is (value if self.is_live(key) else None)
        assert run(self.map.get("never stored")) is None

    @invariant()
    def index_is_sound(self) -> None:
        assert {key for key in self.model if self.is_live(key)} <= set(self.map.items) <= set(self.model)
        check_index(self.map, self.spare, 1)


class Bounded(RuleBasedStateMachine):
    """`max_items`: who goes when one more key comes."""

    @initialize(bound=st.integers(1, 6), spare=st.sampled_from([0, 4]))
    def start(self, bound: int, spare: int) -> None:
        self.bound, self.spare = bound, spare
        self.patch = shrink_constants(spare, 256)
        self.clock = Clock(0.0)
        self.map = ExpiringMap(self.clock, max_items=bound)

    def teardown(self) -> None:
        self.patch.close()

    @rule(key=KEYS, ttl=TTLS)
    def setex(self, key: int, ttl: float) -> None:
        """At most the bound is kept; the new key stays; no key that stays would have expired first, to a second."""
        before = {other: deadline_of(entry) for other, entry in self.map.items.items()}
        run(self.map.setex(key, ttl, "value"))
        assert len(self.map) <= self.bound
        assert (run(self.map.get(key)) == "value") is (self.clock.now + ttl > self.clock.now)
        gone = [deadline for other, deadline in before.items() if other not in self.map.items and other != key]
        live = [deadline for deadline in gone if deadline > self.clock.now]
        assert len(live) <= (1 if key not in before and len(before) == self.bound else 0)
        stays = [deadline_of(entry) for other, entry in self.map.items.items() if other != key]
        assert not live or not stays or live[0] <= min(stays) + 1

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        run(self.map.delete(key))

    @rule(seconds=MOVES)
    def time_passes(self, seconds: float) -> None:
        self.clock.move(seconds)

    @invariant()
    def index_is_sound(self) -> None:
        check_index(self.map, self.spare, 1)


TestAgainstADict = pytest.mark.slow(AgainstADict.TestCase)
TestAgainstADict.settings = settings(max_examples=examples(200), stateful_step_count=60, deadline=None)
TestBounded = pytest.mark.slow(Bounded.TestCase)
TestBounded.settings = settings(max_examples=examples(150), stateful_step_count=60, deadline=None)
