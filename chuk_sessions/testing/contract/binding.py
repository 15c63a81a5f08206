"""Binding: a session of nobody gets a user and a new id, as at a login. Metadata may come with the new id."""

from __future__ import annotations

import asyncio
import time as real
from collections.abc import Callable
from typing import Any

import pytest

from chuk_sessions.exceptions import MetadataError, SessionTakenError
from chuk_sessions.ids import new_session_id, renewed_id
from chuk_sessions.stores import CompleteStore, Renewable, UserIndexed
from chuk_sessions.testing.contract.base import BOX, HOUR, OpenStore, StoreFixtures, Time, has, ids_of, log_in, read
from chuk_sessions.testing.contract.life import check_not_found
from chuk_sessions.testing.contract.renewal import but_for_access, check_is_listed, renewed

__all__ = ["BindingOfUsersTests", "BindingTests", "bound"]

IDS = (None, "sess-" + 38 * "0", "my-id", "my id")  # made here, the second an opaque one, and chosen
UNKNOWN = ("unknown", "sess-1767225600-" + 38 * "0")


async def bound(
    store: CompleteStore, session_id: str, user_id: str = "alice", grace: float = 0, **options: Any
) -> str | None:
    """Give the session to a user, as ``SessionManager`` does. Return its new id; None if not found."""
    new_id = new_session_id(BOX, user_id, real.time())
    return await store.renew(session_id, new_id, grace, user_id=user_id, **options)


async def bound_id(
    store: CompleteStore, session_id: str, user_id: str = "alice", grace: float = 0, **options: Any
) -> str:
    """Give a session that must exist to a user. Return its new id."""
    new_id = await bound(store, session_id, user_id, grace, **options)
    assert new_id is not None
    return new_id


class BindingTests(StoreFixtures):
    """``renew`` with ``user_id`` and with ``metadata``, of a store that is ``Renewable``."""

    @pytest.fixture(params=IDS, ids=str)
    def chosen(self, request: pytest.FixtureRequest) -> str | None:
        """The id of the session of nobody; None for an id that this package makes."""
        chosen: str | None = request.param
        return chosen

    @pytest.mark.parametrize("grace", [0, 60])
    async def test_a_session_of_nobody_becomes_the_users(
        self, renewable_store: CompleteStore, time: Time, chosen: str | None, grace: float
    ) -> None:
        """It keeps its data and its deadline; metadata is merged."""
        store = renewable_store
        old_id = await log_in(store, None, chosen, metadata={"cart": ["book"], "seen": 1})
        before = await read(store, old_id)
        await time.passes(0.002)
        begin = time.now()
        new_id = await bound_id(store, old_id, "alice", grace, metadata={"role": "admin", "seen": 2})
        took = time.now() - begin  # in a cluster the deadline moves by what the move takes, never to earlier
        assert new_id != old_id
        after = await read(store, new_id)
        assert after.user_id == "alice"
        assert after.metadata == {"cart": ["book"], "role": "admin", "seen": 2}
        assert after.accessed > before.accessed
        assert after.created == before.created
        assert -0.01 <= after.expires - before.expires <= 0.01 + took
        await check_is_listed(store, "alice", new_id)
        if grace:
            assert (await read(store, old_id)).current_id == new_id
            assert await store.delete(old_id) is True
            await check_not_found(store, new_id)
        else:
            await check_not_found(store, old_id)
            assert await bound(store, old_id) is None

    @pytest.mark.parametrize("user_id", ["", "a:b/{c}", "\0", "Ærøskøbing", "\ud800"], ids=repr)
    async def test_it_can_become_anybodys(self, renewable_store: CompleteStore, user_id: str) -> None:
        """Any text is a user."""
        new_id = await bound_id(renewable_store, await log_in(renewable_store, None), user_id)
        assert (await read(renewable_store, new_id)).user_id == user_id
        await check_is_listed(renewable_store, user_id, new_id)

    @pytest.mark.parametrize("chosen", [None, "my-id"])
    @pytest.mark.parametrize("grace", [0, 60])
    async def test_a_session_of_that_user_is_renewed(
        self, renewable_store: CompleteStore, chosen: str | None, grace: float
    ) -> None:
        """It gets the metadata too."""
        old_id = await log_in(renewable_store, "alice", chosen, metadata={"a": 1})
        before = await read(renewable_store, old_id)
        new_id = await bound_id(renewable_store, old_id, "alice", grace, metadata={"b": 2})
        after = await read(renewable_store, new_id)
        assert after.metadata == {"a": 1, "b": 2}
        after.metadata = before.metadata
        assert but_for_access(after) == but_for_access(before)
        await check_is_listed(renewable_store, "alice", new_id)

    @pytest.mark.parametrize("chosen", [None, "my-id"])
    @pytest.mark.parametrize("owner", ["alice", ""])
    @pytest.mark.parametrize("grace", [0, 60])
    async def test_the_session_of_another_user_is_refused(
        self, renewable_store: CompleteStore, chosen: str | None, owner: str, grace: float
    ) -> None:
        """Nothing changes, not even the time of last access; the error does not contain the id."""
        store = renewable_store
        session_id = await log_in(store, owner, chosen, metadata={"a": 1})
        before = await read(store, session_id)
        with pytest.raises(SessionTakenError) as caught:
            await bound(store, session_id, "mallory", grace, metadata={"a": 2})
        assert session_id not in str(caught.value)
        assert await read(store, session_id) == before
        await check_is_listed(store, owner, session_id)
        await check_is_listed(store, "mallory")

    async def test_under_an_alias(self, renewable_store: CompleteStore) -> None:
        """Without a grace no earlier id finds the session. With a grace, the current user of the session counts."""
        store = renewable_store
        first = await log_in(store, None)
        second = await renewed(store, first, 60)
        third = await bound_id(store, first, metadata={"n": 3})
        for known in (first, second):
            await check_not_found(store, known)
        fourth = await bound_id(store, third, grace=60)
        assert await bound_id(store, third, grace=60, metadata={"n": 4}) == fourth
        assert (await read(store, third)).metadata == {"n": 4}
        with pytest.raises(SessionTakenError):
            await bound(store, third, "mallory", 60)
        await check_is_listed(store, "alice", fourth)

    async def test_a_session_of_nobody_under_an_alias(self, renewable_store: CompleteStore) -> None:
        """With a grace the earlier aliases stay."""
        store = renewable_store
        first = await log_in(store, None)
        second = await renewed(store, first, 60)
        third = await bound_id(store, first, grace=60)
        assert third not in (first, second)
        for known in (first, second):
            record = await read(store, known)
            assert (record.current_id, record.user_id) == (third, "alice")

    @pytest.mark.parametrize("grace", [0, 60])
    async def test_binding_no_session(self, renewable_store: CompleteStore, time: Time, grace: float) -> None:
        """Binding an unknown, deleted or expired session makes no session."""
        store = renewable_store
        await log_in(store, None, "deleted")
        await store.delete("deleted")
        await log_in(store, None, "expired", 0.05)
        await time.passes(0.06)
        for session_id in (*UNKNOWN, "deleted", "expired"):
            assert await bound(store, session_id, grace=grace, metadata={"a": 1}) is None
        await check_is_listed(store, "alice")

    async def test_a_bound_session_keeps_its_deadlines(self, renewable_store: CompleteStore, time: Time) -> None:
        """It lives its whole lifetime, also in the storage, and a touch still moves its idle deadline."""
        store = renewable_store
        old_id = await log_in(store, None, lifetime=0.5)
        before = await read(store, old_id)
        begin = time.now()
        new_id = await bound_id(store, old_id)
        took = time.now() - begin
        assert abs((await read(store, new_id)).expires - before.expires) <= 0.01 + self.clock_skew + took

        async def ended() -> bool:
            return not await store.touch(new_id, 0)

        await time.until(ended, 5)
        assert time.now() >= before.expires - self.clock_skew - 0.01
        idle_id = await bound_id(store, await log_in(store, None, idle=600))
        record = await read(store, idle_id)
        assert record.idle == 600
        assert record.idle_expires == pytest.approx(record.accessed + 600, abs=0.01 + self.clock_skew)
        assert record.expires == pytest.approx(record.created + HOUR, abs=0.01 + self.clock_skew)

    @pytest.mark.parametrize("grace", [0, 60])
    async def test_refused_metadata_binds_nothing(self, renewable_store: CompleteStore, grace: float) -> None:
        """The session does not change."""
        store = renewable_store
        old_id = await log_in(store, None, metadata={"a": 1})
        before = await read(store, old_id)
        for user_id in (None, "alice"):
            with pytest.raises(MetadataError):
                await store.renew(old_id, "new", grace, user_id=user_id, metadata={"a": object()})
        assert await read(store, old_id) == before

    async def test_metadata_comes_with_a_new_id(self, renewable_store: CompleteStore, chosen: str | None) -> None:
        """Keys are merged, even thousands of them, whether the session is a user's or nobody's."""
        store = renewable_store
        for user_id in (None, "alice"):
            old_id = await log_in(store, user_id, chosen, metadata={"a": 1, "b": 1})
            new_id = await renewed(store, old_id)
            many = {f"k{number}": number for number in range(5_000)}
            for more in ({"b": 2}, many, {}):
                other = await store.renew(new_id, renewed_id(new_id, real.time()), 0, metadata=more)
                assert other is not None
                new_id = other
            assert (await read(store, new_id)).metadata == {"a": 1, "b": 2} | many
            await store.delete(new_id)

    @pytest.mark.parametrize("grace", [0, 60])
    async def test_many_logins_of_one_session(self, renewable_store: CompleteStore, grace: float) -> None:
        """Of two users who log in at the same time one gets the session; the other is refused or finds nothing."""
        store = renewable_store
        old_id = await log_in(store, None)
        users = ("alice", "bob") * 5
        results = await asyncio.gather(
            *(bound(store, old_id, user, grace, metadata={user: 1}) for user in users), return_exceptions=True
        )
        for result in results:
            assert result is None or isinstance(result, (str, SessionTakenError)), result
        ids = {result for result in results if isinstance(result, str)}
        assert len(ids) == 1
        record = await read(store, ids.pop())
        assert record.user_id in ("alice", "bob")
        assert record.metadata == {record.user_id: 1}
        if has(store, UserIndexed):
            assert len(await ids_of(store, "alice") + await ids_of(store, "bob")) == 1


class BindingOfUsersTests(StoreFixtures):
    """``renew`` with ``user_id``, of a store that is ``Renewable`` and ``UserIndexed``."""

    @pytest.fixture
    def binding_store(self, open_user_indexed: Callable[[str], CompleteStore]) -> CompleteStore:
        """A store with both capabilities."""
        store = open_user_indexed(BOX)
        if not has(store, Renewable):
            pytest.skip("the store is not Renewable")
        return store

    async def test_a_bound_session_ends_with_the_users(self, binding_store: CompleteStore) -> None:
        """Ending all sessions of the user ends it, unless it is kept. A deletion removes it from the index."""
        store = binding_store
        first, second = [await bound_id(store, await log_in(store, None)) for _ in range(2)]
        assert sorted(await ids_of(store)) == sorted([first, second])
        assert await store.delete_user("alice", frozenset([first])) == 1
        await check_not_found(store, second)
        assert await ids_of(store) == [first]
        assert await store.delete(first) is True
        assert await ids_of(store) == []
        third = await bound_id(store, await log_in(store, None))
        assert await store.delete_user("alice", frozenset()) == 1
        await check_not_found(store, third)

    @pytest.mark.parametrize("chosen", [None, "my-id"])
    async def test_binding_at_the_limit(self, binding_store: CompleteStore, time: Time, chosen: str | None) -> None:
        """The oldest of the user's other sessions ends, however old the bound session is."""
        store = binding_store
        anonymous = await log_in(store, None)
        ids: list[str] = []
        for _ in range(3):
            await time.passes(0.002)
            ids.append(await log_in(store, "alice", chosen if not ids else None))
        new_id = await bound_id(store, anonymous, limit=3)
        assert sorted(await ids_of(store)) == sorted([new_id, *ids[1:]])
        await check_not_found(store, ids[0])
        last = await bound_id(store, await log_in(store, None), limit=1)
        assert await ids_of(store) == [last]
        assert await bound_id(store, last, limit=1) in await ids_of(store)

    async def test_a_bound_session_is_renewed_under_its_old_id(self, binding_store: CompleteStore) -> None:
        """It stays its user's session, although its old id has the form of a session of nobody. All old ids end."""
        store = binding_store
        visitor = await log_in(store, None)
        second = await bound_id(store, visitor, grace=60)
        third = await store.renew(visitor, renewed_id(visitor, real.time()), 0)
        assert third is not None
        for known in (visitor, second):
            await check_not_found(store, known)
        assert await ids_of(store) == [third]
        fourth = await renewed(store, third)
        assert await ids_of(store) == [fourth]
        assert await store.extend(fourth, HOUR) is True
        assert await store.delete_user("alice", frozenset()) == 1
        await check_not_found(store, fourth)
        assert await ids_of(store) == []

    async def test_sessions_of_nobody_are_bound_apart(
        self, open_sandbox: OpenStore, binding_store: CompleteStore
    ) -> None:
        """Sessions of another sandbox and of other users stay as they are."""
        store = binding_store
        other = open_sandbox("other")
        await other.create("id", None, HOUR, {})
        bob = await log_in(store, "bob")
        assert await bound(store, "id", limit=1) is None
        await log_in(store, None, "id")
        new_id = await bound_id(store, "id", limit=1)
        assert await ids_of(store) == [new_id]
        assert await ids_of(store, "bob") == [bob]
        assert (await read(other, "id")).user_id is None
