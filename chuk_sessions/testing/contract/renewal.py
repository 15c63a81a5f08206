"""Renewal: a session gets a new id."""

from __future__ import annotations

import asyncio
import dataclasses
import time as real

import pytest

from chuk_sessions.ids import new_opaque_id, renewed_id
from chuk_sessions.stores import CompleteStore, Existing, SessionRecord, UserIndexed
from chuk_sessions.testing.contract.base import BOX, HOUR, StoreFixtures, Time, has, ids_of, log_in, read
from chuk_sessions.testing.contract.life import check_not_found

__all__ = ["RenewalOfUsersTests", "RenewalTests", "renewed"]

Kind = tuple[str | None, str | None]
OPAQUE = new_opaque_id(BOX, "alice", 0, bytes)
# Ids that this package makes, for a user or for nobody, one of them opaque; ids that the caller chooses.
KINDS: list[Kind] = [(None, "alice"), (None, None), (OPAQUE, "alice"), ("my-id", "alice"), ("my id", None)]
UNKNOWN = ("unknown", "", "sess-alice-1767225600-" + 38 * "0")


async def renewed(store: CompleteStore, session_id: str, grace: float = 0) -> str:
    """Give a session that must exist a new id of the form that ``SessionManager`` makes. Return its new id."""
    new_id = await store.renew(session_id, renewed_id(session_id, real.time()), grace)
    assert new_id is not None
    return new_id


async def check_is_listed(store: CompleteStore, user_id: str | None, *ids: str) -> None:
    """Assert that the user has these sessions, if the store is ``UserIndexed``."""
    if user_id is not None and has(store, UserIndexed):
        assert await ids_of(store, user_id) == list(ids)


def but_for_access(record: SessionRecord) -> SessionRecord:
    """Return the record without the time of last access."""
    return dataclasses.replace(record, accessed=0)


class RenewalTests(StoreFixtures):
    """``renew``, of a store that is ``Renewable``."""

    @pytest.fixture(params=KINDS, ids=str)
    def kind(self, request: pytest.FixtureRequest) -> Kind:
        """The id to create, None for an id that this package makes, and the user."""
        chosen: Kind = request.param
        return chosen

    @pytest.mark.parametrize("grace", [0, 60])
    async def test_the_same_session_under_a_new_id(
        self, renewable_store: CompleteStore, time: Time, kind: Kind, grace: float
    ) -> None:
        """Data and deadline stay, and the session is touched."""
        old_id = await log_in(renewable_store, kind[1], kind[0], metadata={"a": [1]})
        before = await read(renewable_store, old_id)
        await time.passes(0.002)
        new_id = renewed_id(old_id, real.time())
        assert await renewable_store.renew(old_id, new_id, grace) == new_id
        after = await read(renewable_store, new_id)
        assert after.accessed > before.accessed
        assert but_for_access(after) == but_for_access(before)
        await check_is_listed(renewable_store, kind[1], new_id)

    async def test_the_old_id_ends_at_once(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """No operation finds the session under its old id, nor does a second renewal."""
        old_id = await log_in(renewable_store, kind[1], kind[0])
        new_id = await renewed(renewable_store, old_id)
        await check_not_found(renewable_store, old_id)
        for grace in (0, 60):
            assert await renewable_store.renew(old_id, renewed_id(old_id, real.time()), grace) is None
        assert await renewable_store.touch(new_id, 0) is True

    async def test_the_alias_answers_for_the_session(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """Every operation under the old id acts on the one session."""
        store = renewable_store
        old_id = await log_in(store, kind[1], kind[0])
        assert await store.touch(old_id, 60)
        new_id = await renewed(store, await renewed(store, old_id, 60), 60)
        for interval in (0, 60):
            assert await store.touch(old_id, interval) is True
        assert await store.update(old_id, {"a": 1}, False) is True
        assert await store.increment(old_id, "n", 2) == 2
        before = await read(store, new_id)
        assert await store.extend(old_id, HOUR) is True
        assert await store.create(old_id, "somebody", HOUR, {}) == Existing(kind[1])
        assert (await read(store, new_id)).expires == pytest.approx(before.expires + HOUR, abs=1e-3)
        assert await store.touch(old_id, 0) is True
        begun = (await read(store, new_id)).accessed
        assert await store.extend(old_id, HOUR, from_now=True) is True
        after = await read(store, new_id)
        assert after.metadata == {"a": 1, "n": 2}
        # The deadline is counted from a moment of the call, by the clock of the store.
        tolerance = 0.01 + self.clock_skew
        assert begun - tolerance <= after.expires - HOUR <= after.accessed + tolerance
        assert await read(store, old_id) == dataclasses.replace(after, current_id=new_id)
        assert await renewed(store, old_id, 60) == new_id
        await check_is_listed(store, kind[1], new_id)

    async def test_a_login_through_an_alias_leaves_no_known_id(
        self, renewable_store: CompleteStore, kind: Kind
    ) -> None:
        """A renewal without a grace gives a new id also under an alias: otherwise session fixation is possible."""
        store = renewable_store
        first = await log_in(store, kind[1], kind[0], metadata={"a": 1})
        second = await renewed(store, first, 60)
        third = await renewed(store, second, 60)
        fourth = await renewed(store, first)
        assert fourth not in (first, second, third)
        for known in (first, second, third):
            await check_not_found(store, known)
            assert await store.renew(known, renewed_id(known, real.time()), 60) is None
        assert (await read(store, fourth)).metadata == {"a": 1}
        await check_is_listed(store, kind[1], fourth)

    async def test_renewing_through_an_alias_touches(self, renewable_store: CompleteStore, time: Time) -> None:
        """It touches like every other operation, also if the session keeps its id."""
        old_id = await log_in(renewable_store, None)
        new_id = await renewed(renewable_store, old_id, 60)
        before = await read(renewable_store, new_id)
        await time.passes(0.002)
        assert await renewed(renewable_store, old_id, 60) == new_id
        assert (await read(renewable_store, new_id)).accessed > before.accessed

    async def test_many_renewals_with_a_grace(self, renewable_store: CompleteStore) -> None:
        """Every operation finds the session through any number of aliases."""
        store = renewable_store
        first = current = await log_in(store, None, metadata={"n": 0})
        for _ in range(1200):
            current = await renewed(store, current, 600)
        assert await store.touch(first, 0) is True
        assert (await read(store, first)).current_id == current
        assert await store.update(first, {"a": 1}, False) is True
        assert await store.increment(first, "n", 1) == 1
        assert await store.extend(first, HOUR) is True
        assert await renewed(store, first, 60) == current
        assert await store.create(first, None, HOUR, {}) == Existing(None)
        assert await store.delete(first) is True
        assert await store.touch(current, 0) is False

    async def test_removing_under_the_alias(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """An update that drops some keys finds the session by its alias."""
        old_id = await log_in(renewable_store, kind[1], kind[0], metadata={"a": 1, "b": 2})
        new_id = await renewed(renewable_store, old_id, 60)
        assert await renewable_store.update(old_id, {"c": 3}, False, remove=("a",)) is True
        assert (await read(renewable_store, new_id)).metadata == {"b": 2, "c": 3}

    async def test_replacing_under_the_alias(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """An update that drops all other keys finds the session by its alias."""
        old_id = await log_in(renewable_store, kind[1], kind[0], metadata={"a": 1})
        new_id = await renewed(renewable_store, old_id, 60)
        assert await renewable_store.update(old_id, {"b": 2}, True) is True
        assert (await read(renewable_store, new_id)).metadata == {"b": 2}

    async def test_deleting_the_alias_deletes_the_session(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """Both ids are free again."""
        store = renewable_store
        old_id = await log_in(store, kind[1], kind[0])
        new_id = await renewed(store, old_id, 60)
        assert await store.delete(old_id) is True
        for session_id in (old_id, new_id):
            await check_not_found(store, session_id)
            assert await store.renew(session_id, renewed_id(session_id, real.time()), 60) is None
        await check_is_listed(store, kind[1])
        await log_in(store, kind[1], old_id)
        assert await store.touch(old_id, 0) is True
        assert await store.touch(new_id, 0) is False

    async def test_the_alias_ends_with_the_grace(self, renewable_store: CompleteStore, time: Time, kind: Kind) -> None:
        """The session goes on under its new id."""
        old_id = await log_in(renewable_store, kind[1], kind[0])
        new_id = await renewed(renewable_store, old_id, 0.05)
        await time.passes(0.06)
        assert await renewable_store.touch(old_id, 0) is False
        assert await renewable_store.renew(old_id, renewed_id(old_id, real.time()), 60) is None
        assert await renewable_store.touch(new_id, 0) is True

    async def test_an_alias_outlives_the_deadline_that_was_extended(
        self, renewable_store: CompleteStore, time: Time, kind: Kind
    ) -> None:
        """It is valid for its grace as long as the session lives, whatever deadline the session had at the renewal."""
        old_id = new_id = ""

        async def is_extended(lifetime: float) -> float | None:
            nonlocal old_id, new_id
            begin = time.now()
            old_id = await log_in(renewable_store, kind[1], kind[0], lifetime)
            new_id = await renewable_store.renew(old_id, renewed_id(old_id, real.time()), 60) or ""
            return None if new_id and await renewable_store.extend(new_id, HOUR) else begin

        await time.passes(1.25 * await time.suffices(is_extended, 0.2))
        assert await renewable_store.touch(old_id, 0) is True
        assert await renewable_store.delete(new_id) is True
        assert await renewable_store.touch(old_id, 0) is False

    async def test_a_renewed_session_keeps_its_deadline(
        self, renewable_store: CompleteStore, time: Time, kind: Kind
    ) -> None:
        """A grace does not move the deadline, however long it is."""
        old_id = new_id = ""

        async def is_renewed(lifetime: float) -> float | None:
            nonlocal old_id, new_id
            begin = time.now()
            old_id = await log_in(renewable_store, kind[1], kind[0], lifetime)
            new_id = await renewable_store.renew(old_id, renewed_id(old_id, real.time()), 60) or ""
            return None if new_id else begin

        await time.passes(1.05 * await time.suffices(is_renewed, 0.2))
        assert await renewable_store.touch(new_id, 0) is False
        assert await renewable_store.touch(old_id, 0) is False

    async def test_two_renewals_without_a_grace(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """One caller gets the new id; the others do not find the session."""
        old_id = await log_in(renewable_store, kind[1], kind[0])
        found = await asyncio.gather(
            *[renewable_store.renew(old_id, renewed_id(old_id, real.time()), 0) for _ in range(10)]
        )
        (new_id,) = [each for each in found if each is not None]
        assert await renewable_store.touch(new_id, 0)
        await check_is_listed(renewable_store, kind[1], new_id)

    async def test_two_renewals_with_a_grace(self, renewable_store: CompleteStore, kind: Kind) -> None:
        """All callers get the same new id."""
        old_id = await log_in(renewable_store, kind[1], kind[0])
        found = await asyncio.gather(*[renewed(renewable_store, old_id, 60) for _ in range(10)])
        assert len(set(found)) == 1
        assert await renewable_store.touch(found[0], 0)
        await check_is_listed(renewable_store, kind[1], found[0])

    async def test_renewing_no_session(self, renewable_store: CompleteStore) -> None:
        """The result is None, and no session is made."""
        for missing in UNKNOWN:
            new_id = renewed_id(missing, real.time())
            for grace in (0, 60):
                assert await renewable_store.renew(missing, new_id, grace) is None
            assert await renewable_store.read(new_id) is None

    @pytest.mark.parametrize("kind", [(None, "alice"), ("my-id", "alice")], ids=str)
    async def test_an_old_id_answers_for_all_of_its_grace_while_the_session_is_used(
        self, renewable_store: CompleteStore, time: Time, kind: Kind
    ) -> None:
        """The alias is valid also after the idle deadline that the session had at the renewal."""
        session_id = await log_in(renewable_store, kind[1], kind[0], idle=1)
        await renewed(renewable_store, session_id, 60)
        end = time.now() + 1.2
        while time.now() < end:
            assert await renewable_store.touch(session_id, 0)
            await time.passes(0.02)


class RenewalOfUsersTests(StoreFixtures):
    """``renew`` of a store that is ``UserIndexed`` too."""

    @pytest.fixture
    def both(self, renewable_store: CompleteStore, user_store: CompleteStore) -> CompleteStore:
        """A store with both capabilities."""
        return user_store

    async def test_ending_all_but_an_alias_keeps_its_session(self, both: CompleteStore) -> None:
        """A request that came with the old id keeps its own session."""
        old_ids = [await log_in(both, "alice", chosen) for chosen in (None, "my-id", None)]
        new_ids = [await renewed(both, session_id, 60) for session_id in old_ids]
        assert await both.delete_user("alice", frozenset([old_ids[1]])) == 2
        assert await ids_of(both) == [new_ids[1]]
        for old_id, new_id in zip(old_ids, new_ids, strict=True):
            assert await both.touch(old_id, 0) is await both.touch(new_id, 0) is (old_id == "my-id")

    async def test_the_order_of_sessions_stays(self, both: CompleteStore, time: Time) -> None:
        """A renewed session is as old as it was, also for the limit."""
        first = await log_in(both, limit=2)
        await time.passes(0.001)
        second = await log_in(both, limit=2)
        first = await renewed(both, first)
        assert await ids_of(both) == [first, second]
        await time.passes(0.001)
        third = await log_in(both, limit=2)
        assert await ids_of(both) == [second, third]
