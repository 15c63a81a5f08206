"""What another thread may do between two statements of one operation, played out step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.providers.memory.expiring_map import SPARE_FILINGS, SPARE_SECONDS, ExpiringMap
from tests.memory.test_expiring_map import check_filings, check_index, run
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


class Interrupted(dict[Any, Any]):
    """A dict that lets another thread in, once: at the end of the next `setdefault`, or `in`, as an `__eq__` may."""

    def __init__(self) -> None:
        super().__init__()
        self.others: dict[str, Callable[[], object]] = {}

    def __contains__(self, key: Any) -> bool:
        result = super().__contains__(key)
        self.others.pop("in", int)()
        return result

    def setdefault(self, key: Any, default: Any = None) -> Any:
        result = super().setdefault(key, default)
        self.others.pop("setdefault", int)()
        return result


@pytest.fixture
def items() -> ExpiringMap:
    made = ExpiringMap(Clock())
    made.items = Interrupted()
    return made


def let_in(items: ExpiringMap, after: str, other: Callable[[], object]) -> None:
    assert isinstance(items.items, Interrupted)
    items.items.others[after] = other


def check(items: ExpiringMap, value: object) -> None:
    """Our write came last, and the key is filed once."""
    assert run(items.get("key")) == value
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)
    assert len(items) == 1


@pytest.mark.parametrize("ttl", [10, 100, 1000])
@pytest.mark.parametrize("after", ["in", "setdefault"])
def test_the_key_is_taken_out_while_it_is_overwritten(items: ExpiringMap, after: str, ttl: float) -> None:
    run(items.setex("key", 100, "old"))
    let_in(items, after, lambda: run(items.delete("key")))
    run(items.setex("key", ttl, "new"))
    check(items, "new")


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("ttl", [100, 1000])
def test_the_key_and_its_filing_go_while_it_is_overwritten(items: ExpiringMap, ttl: float, again: bool) -> None:
    """The new value must not lean on a filing that another thread has dropped, or it would never be reclaimed."""

    def delete_and_compact() -> None:
        run(items.delete("key"))
        for second, bucket in list(items._buckets.items()):
            items._visit(second, bucket, 0, 10, -1.0)
        if again:
            run(items.setex("key", 50, "theirs"))

    run(items.setex("key", 100, "old"))
    let_in(items, "in", delete_and_compact)
    run(items.setex("key", ttl, "new"))
    assert run(items.get("key")) == "new"
    check_filings(items, SPARE_SECONDS)


@pytest.mark.parametrize("ttl", [10, 100, 1000])
@pytest.mark.parametrize("their_ttl", [10, 100, 1000])
def test_the_key_is_replaced_while_it_is_overwritten(items: ExpiringMap, their_ttl: float, ttl: float) -> None:
    run(items.setex("key", 100, "old"))
    let_in(items, "in", lambda: run(items.setex("key", their_ttl, "theirs")))
    run(items.setex("key", ttl, "new"))
    check(items, "new")


def test_the_key_is_replaced_while_it_is_filed_anew(items: ExpiringMap) -> None:
    run(items.setex("key", 100, "old"))
    let_in(items, "setdefault", lambda: run(items.setex("key", 200, "theirs")))
    run(items.setex("key", 10, "new"))
    check(items, "new")


@pytest.mark.parametrize("ttl", [10, 100, 1000])
@pytest.mark.parametrize("their_ttl", [10, 100, 1000])
def test_two_threads_make_the_same_key(items: ExpiringMap, their_ttl: float, ttl: float) -> None:
    let_in(items, "in", lambda: run(items.setex("key", their_ttl, "theirs")))
    run(items.setex("key", ttl, "new"))
    check(items, "new")


def test_a_full_map_while_another_thread_visits() -> None:
    """The bound is passed by one key meanwhile, and kept again by the next writer."""
    items = ExpiringMap(Clock(), max_items=2)
    for ttl in (10, 20):
        run(items.setex(ttl, ttl, "value"))
    with items._visiting:
        run(items.setex(30, 30, "value"))
    assert len(items) == 3
    run(items.setex(40, 40, "value"))
    assert set(items.items) == {30, 40}


def test_an_emptied_map_is_refilled_while_it_is_cleared(items: ExpiringMap) -> None:
    """The index goes only with a map that is still empty."""
    for key in range(2 * SPARE_FILINGS):
        run(items.setex(key, 100, "value"))
    for key in range(2 * SPARE_FILINGS):
        run(items.delete(key))
    run(items.setex("key", 10, "new"))
    check(items, "new")


@pytest.mark.parametrize("ttl", [100, 1.5], ids=["in the bucket used last", "in another second meanwhile"])
def test_a_key_is_filed_in_a_bucket_that_is_about_to_be_dropped(monkeypatch: pytest.MonkeyPatch, ttl: float) -> None:
    """The visit has found the bucket empty."""
    items, drop = ExpiringMap(Clock()), ExpiringMap._drop

    def file_and_drop(*args: Any) -> None:
        monkeypatch.undo()
        run(items.setex("other", ttl, "value"))
        run(items.setex("new", 100, "value"))
        drop(*args)

    run(items.setex("old", 100, "value"))
    run(items.delete("old"))
    ((second, bucket),) = items._buckets.items()
    monkeypatch.setattr(ExpiringMap, "_drop", file_and_drop)
    items._drop_stale(second, bucket, 0, 10)
    check_filings(items, SPARE_SECONDS)
    run(items.setex("last", 100, "value"))
    check_filings(items, SPARE_SECONDS)
