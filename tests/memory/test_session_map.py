"""SessionMap against a plain dict, and what may come between two statements of its operations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chuk_sessions.providers.memory.expiring_map import SPARE_FILINGS, SPARE_SECONDS
from chuk_sessions.providers.memory.locked import LockedSessionMap
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.session_map import SessionMap
from tests.memory.test_expiring_map import KEYS, MOVES, check_filings, check_index, end_of, run, shrink_constants
from tests.memory.test_expiring_map_interleavings import Interrupted, let_in
from tests.support.examples import examples
from tests.support.helpers import Clock
from tests.support.interruptions import interruptions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


def named(name: object) -> StoredSession:
    return StoredSession.of(str(name), None, 0.0, 1.0, "{}")


def retime(items: SessionMap, key: Hashable, deadline: float) -> None:
    """Give a session another deadline, as its owner does."""
    session = items.items[key]
    session.bound, earlier = deadline, deadline < session.filing
    if earlier:
        session.filing = deadline
        items.account(key, session, True)


def expire(items: SessionMap) -> None:
    later(items, 60)
    list(items.sweep())


def later(items: SessionMap, seconds: float) -> None:
    assert isinstance(items.clock, Clock)
    items.clock.move(seconds)


class AgainstADict(RuleBasedStateMachine):
    """The model is `key -> (session, deadline)` and forgets nothing but what was removed."""

    @initialize(spare=st.sampled_from([0, 1, 4, 16]), slice_=st.sampled_from([1, 2, 5, 256]))
    def start(self, spare: int, slice_: int) -> None:
        self.spare = spare
        self.patch = shrink_constants(spare, slice_)
        self.clock = Clock(0.0)
        self.map = SessionMap(self.clock)
        self.model: dict[int, tuple[StoredSession, float]] = {}

    def teardown(self) -> None:
        self.patch.close()

    def is_live(self, key: int) -> bool:
        return key in self.model and self.model[key][1] > self.clock.now

    @rule(key=KEYS, ttl=st.floats(0.001, 300))
    def add(self, key: int, ttl: float) -> None:
        """Stores what is not live; what is live is given back as it is."""
        session, live = named(key), self.is_live(key)
        held = self.map.add(key, ttl, session)
        if live:
            assert held is not None
            assert (held, end_of(held)) == self.model[key]
        else:
            assert held is None
            self.model[key] = (session, self.clock.now + ttl)

    @rule(first=KEYS, count=st.integers(1, 40), ttl=st.floats(0.001, 100_000))
    def add_many(self, first: int, count: int, ttl: float) -> None:
        for key in range(first, first + count):
            self.add(key, ttl)

    @rule(key=KEYS, other=KEYS)
    def remove(self, key: int, other: int) -> None:
        """Removes what is that session's, and nothing else."""
        held = self.map.items.get(key)
        if held is not None:
            assert self.map.remove(other, held) is (key == other)
        if held is not None and key == other:
            self.model.pop(key)
        assert self.map.remove(key, named(key)) is False

    @rule(first=KEYS, count=st.integers(1, 40))
    def remove_many(self, first: int, count: int) -> None:
        for key in range(first, first + count):
            self.remove(key, key)

    @rule(key=KEYS, seconds=st.floats(-300, 300))
    def retime(self, key: int, seconds: float) -> None:
        session = self.map.live(key)
        assert (session is not None) is self.is_live(key)
        if session is not None:
            deadline = max(end_of(session) + seconds, self.clock.now + 0.01)
            self.model[key] = (session, deadline)
            retime(self.map, key, deadline)

    @rule(seconds=MOVES)
    def time_passes(self, seconds: float) -> None:
        self.clock.move(seconds)

    @rule()
    def sweep(self) -> None:
        """A whole sweep removes what has expired, all of it and nothing else, and counts it."""
        held, expired = len(self.map), self.map.expired
        removed = sum(self.map.sweep())
        assert held - removed == len(self.map)
        assert self.map.expired == expired + removed
        assert set(self.map.items) == {key for key in self.model if self.is_live(key)}

    @rule(limit=st.integers(1, 20))
    def reclaim(self, limit: int) -> None:
        held = len(self.map)
        assert held - self.map.reclaim(limit, self.clock.now) == len(self.map)

    @invariant()
    def reads_equal_the_model(self) -> None:
        for key, (session, deadline) in self.model.items():
            assert self.map.live(key) is (session if self.is_live(key) else None)
            assert not self.is_live(key) or end_of(session) == deadline
        assert self.map.live("never stored") is None

    @invariant()
    def index_is_sound(self) -> None:
        assert {key for key in self.model if self.is_live(key)} <= set(self.map.items) <= set(self.model)
        check_index(self.map, self.spare, 1)


TestAgainstADict = pytest.mark.slow(AgainstADict.TestCase)
TestAgainstADict.settings = settings(max_examples=examples(100), stateful_step_count=60, deadline=None)


def test_adding_at_the_deadline() -> None:
    """What lives is given back and stays; at its deadline it lives no more, and is replaced."""
    clock, old, new = Clock(0.0), named("old"), named("new")
    items = SessionMap(clock)
    assert items.add("key", 10, old) is None
    clock.now = 9.999
    assert items.add("key", 100, new) is old
    assert end_of(old) == 10.0
    clock.now = 10.0
    assert items.add("key", 100, new) is None
    assert items.live("key") is new
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_who_ended() -> None:
    """The owner learns which sessions ended and how, also one that expired and was replaced."""
    clock = Clock()
    items = SessionMap(clock, max_items=1)
    ended: list[tuple[str, bool]] = []
    items.on_end = lambda session, evicted: ended.append((session.session_id, evicted))
    items.add("a", 100, named("first"))
    items.add("b", 100, named("second"))
    clock.move(101)
    items.add("b", 100, named("third"))
    clock.move(102)
    assert sum(items.sweep()) == 1
    assert ended == [("first", True), ("second", False), ("third", False)]
    assert (items.expired, items.evicted) == (2, 1)


@pytest.mark.parametrize("map_of", [SessionMap, LockedSessionMap])
def test_a_filing_is_stale_when_its_session_has_gone(map_of: type[SessionMap]) -> None:
    """Also one whose key was stored anew, or filed under another deadline; a later deadline keeps it."""
    items = map_of(Clock(0.0))
    for key in ("stays", "goes", "comes again", "earlier", "later"):
        items.add(key, 5000, named(key))
    for key in ("goes", "comes again"):
        items.remove(key, items.items[key])
    items.add("comes again", 5000, named("comes again"))
    retime(items, "earlier", 4999.0)
    retime(items, "later", 6000.0)
    (bucket,) = items._buckets.values()
    here = bucket[:]
    valid = items._valid(here)
    assert [key for key, each in zip(here[::2], valid, strict=True) if not each] == ["goes", "comes again", "earlier"]


@pytest.fixture
def items() -> SessionMap:
    made = SessionMap(Clock())
    made.items = Interrupted()
    return made


def test_an_expired_key_comes_back_while_it_is_added(items: SessionMap) -> None:
    """Then it is live, and the one who adds is told so."""
    theirs = named("theirs")
    items.add("key", 1, named("old"))
    later(items, 10)
    let_in(items, "setdefault", lambda: items.add("key", 100, theirs))
    assert items.add("key", 50, named("new")) is theirs
    assert items.live("key") is theirs
    check_index(items, SPARE_FILINGS, SPARE_SECONDS)


def test_an_expired_key_goes_while_it_is_added(items: SessionMap) -> None:
    new = named("new")
    items.add("key", 1, named("old"))
    later(items, 10)
    let_in(items, "setdefault", lambda: run(items.delete("key")))
    assert items.add("key", 50, new) is None
    assert items.live("key") is new
    check_filings(items, SPARE_SECONDS)


def add_again(items: SessionMap) -> None:
    later(items, 15.5)
    items.add("k5", 3, named("k5"))


def live_on(items: SessionMap) -> None:
    """Its bucket comes up before its deadline."""
    retime(items, "k5", items.clock() + 300)
    expire(items)


CHANGES: dict[str, Callable[[SessionMap], object]] = {
    "add in a second of its own": lambda items: items.add("new", 30, named("new")),
    "add in the second of the last": lambda items: items.add("new", 21.5, named("new")),
    "add in the place of an expired one": add_again,
    "an earlier deadline": lambda items: retime(items, "k5", items.clock() + 3),
    "sweep": expire,
    "a bucket of a key that lives on": live_on,
}


@pytest.mark.parametrize("most", [None, 12])
@pytest.mark.parametrize("change", CHANGES)
def test_every_key_is_in_a_bucket(change: str, most: int | None) -> None:
    """Whichever call of an operation raises."""
    for interruption in interruptions():
        clock = Clock(1000.0)
        items = SessionMap(clock, most)
        items.on_end = items.on_new_second = lambda *_: None
        for number in range(12):
            items.add(f"k{number}", 10 + number, named(number))
        with interruption:
            CHANGES[change](items)
        buckets = [items._buckets[second] for second in set(items._heap) if second in items._buckets]
        assert len(buckets) == len(items._buckets)
        here = {pair for bucket in buckets for pair in zip(bucket[::2], bucket[1::2], strict=True)}
        assert all((key, session.filing) in here for key, session in items.items.items())
        assert items._due <= min(items._heap, default=math.inf) + 1
        items.add("after", 1, named("after"))
        clock.move(1000)
        assert len(list(items.sweep())) > 0
        assert len(items) == 0
