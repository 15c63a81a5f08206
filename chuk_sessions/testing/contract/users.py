"""The sessions of a user: they are listed, and ended all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chuk_sessions.stores import CompleteStore
from chuk_sessions.testing.contract.base import HOUR, StoreFixtures, Time, ids_of, log_in, read

__all__ = ["UserTests"]

ODD_USERS = (
    "",
    "alice",
    "Alice",
    "alice:",
    "5:alice",
    "a:b/{c}",
    "\0",
    "Ærøskøbing",
    "\ud800",
    "*",
    "a\r\nb",
    "a%",
    "_",
)


class UserTests(StoreFixtures):
    """``list_user`` and ``delete_user``, of a store that is ``UserIndexed``."""

    @pytest.mark.parametrize("chosen", [False, True], ids=["made here", "chosen"])
    async def test_listing(self, user_store: CompleteStore, time: Time, chosen: bool) -> None:
        """Each session of the user is listed with its full record, oldest first. No session is touched."""
        made = []
        for number in range(5):
            session_id = f"my-id:{9 - number}" if chosen else None  # as texts these ids have the opposite order
            made.append(await log_in(user_store, "alice", session_id, metadata={"n": number}))
            await log_in(user_store, "bob", f"bobs-{number}" if chosen else None)
            await log_in(user_store, None)
            await time.passes(0.002)
        expected = [(session_id, await read(user_store, session_id)) for session_id in made]
        assert await user_store.list_user("alice") == expected
        assert await user_store.list_user("alice") == expected
        assert [record.metadata["n"] for _, record in expected] == list(range(5))
        assert await user_store.list_user("carol") == []

    async def test_odd_users_are_apart(self, user_store: CompleteStore) -> None:
        """No user's name is taken for another's."""
        made = {user: [await log_in(user_store, user) for _ in range(2)] for user in ODD_USERS}
        for user in ODD_USERS:
            made[user].append(await log_in(user_store, user, f"my-{ODD_USERS.index(user)}"))
        for user in ODD_USERS:
            assert sorted(await ids_of(user_store, user)) == sorted(made[user])
            assert await user_store.delete_user(user, frozenset()) == 3
            assert await ids_of(user_store, user) == []

    async def test_sandboxes_do_not_share_users(self, open_user_indexed: Callable[[str], CompleteStore]) -> None:
        """A user of the same name in another sandbox is another user."""
        here, there = open_user_indexed("here"), open_user_indexed("there")
        session_id = await log_in(here, "alice", "id")
        assert await ids_of(there) == []
        assert await there.delete_user("alice", frozenset()) == 0
        assert await ids_of(here) == [session_id]

    @pytest.mark.parametrize("chosen", [None, "my-id"])
    async def test_what_has_ended_is_not_listed(
        self, user_store: CompleteStore, time: Time, chosen: str | None
    ) -> None:
        """A session is not listed once it is deleted, expired, or created anew for another user."""
        await log_in(user_store, "alice", chosen, 0.05)
        await time.passes(0.06)
        assert await ids_of(user_store) == []
        session_id = await log_in(user_store, "alice", chosen)
        assert await ids_of(user_store) == [session_id]
        await user_store.delete(session_id)
        assert await ids_of(user_store) == []
        await log_in(user_store, "bob", session_id)
        assert await ids_of(user_store) == []
        assert await user_store.delete_user("alice", frozenset()) == 0
        assert await ids_of(user_store, "bob") == [session_id]

    @pytest.mark.parametrize("chosen", [None, "my-id"])
    async def test_an_extended_session_stays_listed(
        self, user_store: CompleteStore, time: Time, chosen: str | None
    ) -> None:
        """It is listed past its first deadline, and past the deadlines of all other sessions."""
        session_id = ""

        async def is_extended(lifetime: float) -> float | None:
            nonlocal session_id
            begin = time.now()
            session_id = await log_in(user_store, "alice", chosen, lifetime)
            extended = await user_store.extend(session_id, HOUR) and await user_store.extend(session_id, HOUR)
            return None if extended else begin

        lifetime = await time.suffices(is_extended, 0.3)
        await log_in(user_store, "alice", lifetime=0.01)
        await time.passes(1.1 * lifetime)
        assert await ids_of(user_store) == [session_id]

    @pytest.mark.parametrize("chosen", [None, "my-id"])
    async def test_a_session_is_listed_until_its_deadline_from_now(
        self, user_store: CompleteStore, time: Time, chosen: str | None
    ) -> None:
        """It is listed past its earlier deadlines, and up to the last deadline that was set."""
        session_id = ""

        async def is_extended(lifetime: float) -> float | None:
            nonlocal session_id
            begin = time.now()
            session_id = await log_in(user_store, "alice", chosen, 1.2 * lifetime)
            extended = await user_store.extend(session_id, lifetime, from_now=True)
            return None if extended and await user_store.extend(session_id, HOUR, from_now=True) else begin

        lifetime = await time.suffices(is_extended, 0.3)
        await log_in(user_store, "alice", lifetime=0.01)
        await time.passes(1.3 * lifetime)

        async def is_listed(lifetime: float) -> float | None:
            if not await user_store.extend(session_id, HOUR, from_now=True):
                await log_in(user_store, "alice", session_id)
            begin = time.now()
            assert await user_store.extend(session_id, lifetime, from_now=True)
            return None if await ids_of(user_store) == [session_id] else begin

        assert await ids_of(user_store) == [session_id]
        await time.passes(1.1 * await time.suffices(is_listed, 0.3))
        assert await ids_of(user_store) == []
        assert await user_store.delete_user("alice", frozenset()) == 0

    async def test_create_on_a_live_id_changes_no_list(self, user_store: CompleteStore) -> None:
        """The session keeps its user, and a session of nobody stays nobody's."""
        await log_in(user_store, "alice", "my-id")
        await user_store.create("my-id", "bob", HOUR, {})
        await log_in(user_store, None, "nobodys")
        await user_store.create("nobodys", "bob", HOUR, {})
        assert await ids_of(user_store) == ["my-id"]
        assert await ids_of(user_store, "bob") == []
        assert await user_store.delete_user("bob", frozenset()) == 0
        assert await user_store.touch("my-id", 0)
        assert await user_store.touch("nobodys", 0)

    @pytest.mark.parametrize("keep", [(), ("one",), ("one", "two"), ("one", "unknown"), ("bobs",)], ids=repr)
    async def test_ending_all(self, user_store: CompleteStore, keep: tuple[str, ...]) -> None:
        """All sessions of the user end except those that are kept; sessions of other users stay."""
        ids = {name: await log_in(user_store) for name in ("one", "two", "three")}
        ids |= {"chosen": await log_in(user_store, "alice", "chosen")}
        ids_of_all = {**ids, "bobs": await log_in(user_store, "bob")}
        kept = frozenset(ids_of_all.get(name, name) for name in keep)
        left = kept & set(ids.values())
        assert await user_store.delete_user("alice", kept) == 4 - len(left)
        assert set(await ids_of(user_store)) == left
        for session_id in ids.values():
            assert await user_store.touch(session_id, 0) is (session_id in left)
        assert await user_store.touch(ids_of_all["bobs"], 0)
        assert await user_store.delete_user("alice", frozenset()) == len(left)

    async def test_ending_many(self, user_store: CompleteStore) -> None:
        """All of several hundred sessions end; a session that is created later stays."""
        made = await asyncio.gather(*[log_in(user_store) for _ in range(450)])
        made += await asyncio.gather(*[log_in(user_store, "alice", f"my-{n}") for n in range(20)])
        assert sorted(await ids_of(user_store)) == sorted(made)
        assert await user_store.delete_user("alice", frozenset()) == 470
        assert not any(await asyncio.gather(*[user_store.touch(session_id, 0) for session_id in made]))
        new = await log_in(user_store)
        assert await ids_of(user_store) == [new]

    async def test_logins_while_all_are_ended(self, open_user_indexed: Callable[[str], CompleteStore]) -> None:
        """Afterwards exactly the live sessions are listed, and all of them are from logins during the call."""
        stores = [open_user_indexed("box") for _ in range(3)]
        before = [await log_in(stores[0], "alice", f"old-{n}" if n % 2 else None) for n in range(20)]
        logins = [log_in(stores[n % 3], "alice", f"my-{n}" if n % 2 else None) for n in range(60)]
        ending = asyncio.create_task(stores[1].delete_user("alice", frozenset()))
        made = await asyncio.gather(*logins)
        assert await ending >= len(before)
        assert not any([await stores[0].touch(session_id, 0) for session_id in before])
        alive = {session_id for session_id in made if await stores[0].touch(session_id, 0)}
        assert set(await ids_of(stores[0])) == alive
