"""Single promises of ExpiringMap that random operations seldom reach, with the real constants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.providers.memory.expiring_map import SPARE_FILINGS, SPARE_SECONDS, ExpiringMap
from tests.memory.test_expiring_map import check_index, run
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


def churn_overwrite(items: ExpiringMap, key: int) -> None:
    """A shorter and a shorter lifetime: each files anew."""
    run(items.setex(key, 86_400, "first"))
    run(items.setex(key, 43_200, "second"))
    run(items.setex(key, 21_600, "third"))


def churn_recreate(items: ExpiringMap, key: int) -> None:
    run(items.setex(key, 86_400, "first"))
    run(items.delete(key))
    run(items.setex(key, 86_400, "second"))


def churn_longer(items: ExpiringMap, key: int) -> None:
    """Moving a deadline later files nothing."""
    run(items.setex(key, 86_400, "first"))
    run(items.setex(key, 90_000, "second"))


@pytest.mark.parametrize("churn", [churn_overwrite, churn_recreate, churn_longer])
def test_memory_is_bounded_by_what_is_live(churn: Callable[[ExpiringMap, int], None]) -> None:
    """However often keys are written again long before they expire, the index stays in proportion."""
    clock = Clock()
    items = ExpiringMap(clock)
    for turn in range(20_000):
        churn(items, turn % 500)
        clock.move(0.01)
        assert items.stale <= 2 * len(items) + 2 * SPARE_FILINGS
    assert len(items) == 500
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_keys_that_come_and_go_leave_nothing() -> None:
    """Once the last key is deleted, the index is empty soon, without a clock or a sweep."""
    items = ExpiringMap(Clock())
    for key in range(5000):
        run(items.setex(key, 86_400 + key, "value"))
    for key in range(5000):
        run(items.delete(key))
    assert len(items) == 0
    assert items.stale <= SPARE_FILINGS
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_the_heap_of_seconds_is_bounded() -> None:
    """A second whose keys are all gone does not stay on the heap for its whole life."""
    clock = Clock()
    items = ExpiringMap(clock)
    run(items.setex("stays", 1e9, "value"))
    for turn in range(20_000):
        run(items.setex("key", 86_400, turn))
        run(items.delete("key"))
        clock.move(1)
        assert len(items._heap) <= 3 * SPARE_FILINGS + SPARE_SECONDS
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_writers_reclaim_what_has_expired() -> None:
    """Without any sweep: each write visits more than it adds, so the dead never pile up."""
    clock = Clock()
    items = ExpiringMap(clock)
    for key in range(10_000):
        run(items.setex(key, 1, "short"))
    clock.move(10)
    for turn in range(1000):
        run(items.setex("writer", 3600, turn))
    assert len(items) == 1
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_one_write_never_reclaims_much() -> None:
    """The price of the expired is paid in small change: no write stalls the loop."""
    clock = Clock()
    items = ExpiringMap(clock)
    for key in range(10_000):
        run(items.setex(key, 1, "short"))
    clock.move(10)
    run(items.setex("writer", 3600, "value"))
    assert 10_000 - 100 < len(items) < 10_000


def test_one_step_of_a_sweep_never_reclaims_much() -> None:
    """Whether the second is over or still running."""
    for move in (10.0, 1.0):
        clock = Clock(0.25)
        items = ExpiringMap(clock)
        for key in range(10_000):
            run(items.setex(key, 0.5, "short"))
        clock.move(move)
        counts = list(items.sweep())
        assert sum(counts) == 10_000
        assert max(counts) <= 256


def test_a_sweep_of_the_running_second_leaves_the_living() -> None:
    clock = Clock(0.0)
    items = ExpiringMap(clock)
    for key in range(1000):
        run(items.setex(key, 0.25 if key % 2 else 0.75, "value"))
    clock.now = 0.5
    assert sum(items.sweep()) == 500
    assert sorted(items.items) == list(range(0, 1000, 2))  # type: ignore[type-var]


def test_a_second_that_was_emptied_can_be_filed_under_again() -> None:
    """What comes after a sweep in the same second is swept in its turn."""
    clock = Clock(0.0)
    items = ExpiringMap(clock)
    run(items.setex("first", 0.25, "value"))
    clock.now = 0.5
    assert sum(items.sweep()) == 1
    run(items.setex("second", 0.25, "value"))
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)
    clock.now = 0.75
    assert sum(items.sweep()) == 1
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_a_sweep_while_keys_are_written() -> None:
    """Steps may be far apart: what was written in between is neither lost nor counted."""
    clock = Clock()
    items = ExpiringMap(clock)
    for key in range(2000):
        run(items.setex(key, 5, "old"))
    clock.move(10)
    sweep = items.sweep()
    removed = next(sweep)
    for key in range(2000):
        run(items.setex(key, 3600, "new"))
    removed += sum(sweep)
    assert removed < 2000
    assert all(run(items.get(key)) == "new" for key in range(2000))
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_a_nested_sweep_gives_way() -> None:
    """While one visitor is in a bucket, another goes on without; as with two threads."""
    clock = Clock()
    items = ExpiringMap(clock)
    run(items.setex("key", 1, "value"))
    clock.move(10)
    with items._visiting:
        assert items.reclaim(10, clock.now) == 0
        run(items.setex("other", 3600, "value"))
        assert run(items.get("other")) == "value"
        run(items.delete("other"))
    assert items.reclaim(10, clock.now) == 1


def test_a_new_second_is_announced_once() -> None:
    """The owner hears of each second that gets its first key, and of no other write."""
    clock = Clock(0.0)
    items = ExpiringMap(clock)
    heard: list[float] = []
    items.on_new_second = lambda: heard.append(items.due)
    for key, ttl in (("a", 5.5), ("b", 5.1), ("c", 7.0), ("a", 5.2), ("d", 2.0)):
        run(items.setex(key, ttl, "value"))
    assert heard == [6.0, 6.0, 3.0]


def test_eviction_takes_the_soonest() -> None:
    """Also one whose deadline was moved earlier or later since it was stored."""
    clock = Clock(0.0)
    items = ExpiringMap(clock, max_items=3)
    for key, ttl in (("a", 100), ("b", 200), ("c", 300), ("a", 1000), ("c", 150)):
        run(items.setex(key, ttl, key))
    run(items.setex("d", 5, "d"))
    assert set(items.items) == {"a", "b", "d"}
    run(items.setex("e", 5000, "e"))
    assert set(items.items) == {"a", "b", "e"}
    run(items.setex("f", 1, "f"))
    assert set(items.items) == {"a", "e", "f"}


def test_a_bound_below_one_is_refused() -> None:
    for bound in (0, -1):
        with pytest.raises(ValueError, match="max_items"):
            ExpiringMap(max_items=bound)


def test_no_operation_suspends() -> None:
    """So that each is atomic on the event loop; `run` would fail otherwise."""
    items = ExpiringMap(Clock(), default_ttl=60)
    assert run(items.set("key", "value")) is None
    assert run(items.get("key")) == "value"
    assert run(items.delete("key")) is True
    assert run(items.close()) is None


def test_usable_without_a_loop_and_across_loops() -> None:
    """Nothing in the map belongs to a loop."""
    items = ExpiringMap()
    asyncio.run(items.setex("key", 60, "value"))
    assert asyncio.run(items.get("key")) == "value"
