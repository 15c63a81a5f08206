"""Many keys: what is stale is found without a look at the keys, and far deadlines share buckets."""

from __future__ import annotations

import random

import pytest

from chuk_sessions.providers.memory.expiring_map import FAR, SPARE_FILINGS, SPARE_SECONDS, WIDE, ExpiringMap
from chuk_sessions.providers.memory.locked import LockedMap
from chuk_sessions.providers.memory.references import references
from tests.memory.test_expiring_map import check_index, run
from tests.support.helpers import Clock

MAPS = [ExpiringMap, LockedMap]


def test_a_filing_is_stale_when_its_entry_has_gone() -> None:
    """Also one whose key was stored anew, or filed under another deadline; postponing keeps it."""
    items = ExpiringMap(Clock(0.0))
    for key in ("stays", "goes", "comes again", "earlier", "later", "postponed"):
        run(items.setex(key, 5000, "value"))
    run(items.delete("goes"))
    run(items.delete("comes again"))
    run(items.setex("comes again", 5000, "value"))
    run(items.setex("earlier", 4999, "value"))
    run(items.setex("later", 6000, "value"))
    run(items.setex("postponed", 7000, "value"))
    (bucket,) = items._buckets.values()
    here = bucket[:]
    valid = items._valid(here)
    assert [key for key, each in zip(here[::2], valid, strict=True) if not each] == ["goes", "comes again", "earlier"]


def test_references_count_what_others_hold() -> None:
    """None for a float that only its bucket has; one more for each that has it too."""
    bucket = ["a", float("1.5"), "b", float("2.5")]
    holder = (bucket[3],)
    here = bucket[:]
    assert references(here[1::2]) == [0, 1]
    assert holder


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("spread", [0, 1, 50_000])
def test_deleting_in_random_order_leaves_nothing(kind: type[ExpiringMap], spread: int) -> None:
    """Whether all keys share a second or each has one of its own; what is left meanwhile stays filed."""
    chance = random.Random(1)
    items = kind(Clock())
    keys = list(range(6000))
    for key in keys:
        run(items.setex(key, 5000 + chance.random() * spread, "value"))
    chance.shuffle(keys)
    for number, key in enumerate(keys):
        run(items.delete(key))
        assert items.stale <= 2 * len(items) + 2 * SPARE_FILINGS
        if number % 1000 == 999:
            check_index(items, SPARE_FILINGS, SPARE_SECONDS)
    assert items.stale <= SPARE_FILINGS


@pytest.mark.parametrize("kind", MAPS)
def test_one_delete_never_looks_at_much(kind: type[ExpiringMap]) -> None:
    """A pass over the index is made in slices."""
    items = kind(Clock())
    for key in range(20_000):
        run(items.setex(key, 5000, "value"))
    dropped = []
    for key in range(15_000):
        before = items.stale
        run(items.delete(key))
        dropped.append(before + 1 - items.stale)
    assert sum(dropped) > 5000
    assert max(dropped) <= 512


def test_far_deadlines_share_a_bucket() -> None:
    """As many keys as seconds, in a sixtieth as many buckets; near ones have one for each second."""
    items = ExpiringMap(Clock(0.0))
    for second in range(2 * FAR, 2 * FAR + 10 * WIDE):
        run(items.setex(second, second, "value"))
    assert len(items._buckets) == 10
    for second in range(1, 101):
        run(items.setex(-second, second, "value"))
    assert len(items._buckets) == 110
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_keys_of_a_wide_bucket_go_each_in_its_second() -> None:
    """They are filed by the second once the bucket comes up, also when that is late."""
    for step in (1.0, 7.0, 1000.0):
        clock = Clock(0.0)
        items = ExpiringMap(clock)
        for number in range(2 * WIDE):
            run(items.setex(number, 2 * FAR + number + 0.5, "value"))
        clock.now = 2.0 * FAR - 5
        while len(items):
            clock.move(step)
            for _ in items.sweep():
                pass
            left = [number for number in range(2 * WIDE) if 2 * FAR + number + 0.5 > clock.now]
            assert set(items.items) == set(left)
            check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_eviction_from_a_wide_bucket_takes_the_soonest() -> None:
    """To a second, whatever the order of their coming."""
    items = ExpiringMap(Clock(0.0), max_items=40)
    lifetimes = [2 * FAR + number for number in range(40)]
    random.Random(1).shuffle(lifetimes)
    for lifetime in lifetimes:
        run(items.setex(lifetime, lifetime, "value"))
    for new in range(10):
        run(items.setex(f"new-{new}", 1e6, "value"))
        assert len(items) == 40
    assert min(key for key in items.items if isinstance(key, int)) == 2 * FAR + 10
