"""Stores that fail at the sessions of a user, their limit, new ids, all sessions of a sandbox, or their figures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from chuk_sessions.stores import StoreWrapper
from tests.support.broken.base import Broken, found_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.stores import CompleteStore, Existing, SessionRecord, SessionStore
    from chuk_sessions.testing import Clock

__all__: list[str] = []

Sessions = list[tuple[str, "SessionRecord"]]


class OverComplete(Broken):
    """With the store within as one that can do everything, for the type checker."""

    def __init__(self, store: SessionStore, clock: Clock) -> None:
        super().__init__(store, clock)
        self.all: CompleteStore = StoreWrapper(store)


@found_by(
    "test_listing", "test_the_oldest_is_ended", "test_a_limit_that_comes_later", "test_the_order_of_sessions_stays"
)
class ListsTheNewestFirst(OverComplete):
    async def list_user(self, user_id: str) -> Sessions:
        return (await self.all.list_user(user_id))[::-1]


@found_by("test_listing")
class ListsById(OverComplete):
    async def list_user(self, user_id: str) -> Sessions:
        return sorted(await self.all.list_user(user_id), key=lambda pair: pair[0])


@found_by("test_listing")
class ListingTouches(OverComplete):
    async def list_user(self, user_id: str) -> Sessions:
        for session_id, _ in await self.all.list_user(user_id):
            await self.all.touch(session_id, 0)
        return await self.all.list_user(user_id)


@found_by("test_odd_users_are_apart", "test_create_on_a_live_id_changes_no_list")
class ListsByTheBeginningOfTheName(OverComplete):
    async def list_user(self, user_id: str) -> Sessions:
        found = [pair async for page in self.all.pages(100) for pair in page]
        return [pair for pair in found if (pair[1].user_id or "").startswith(user_id) or user_id == "bob"]


@found_by("test_what_has_ended_is_not_listed", "test_ending_many", "test_odd_users_are_apart")
class ListsWhatWasEnded(OverComplete):
    async def list_user(self, user_id: str) -> Sessions:
        known: dict[str, SessionRecord] = self.shared.setdefault(f"listed {user_id}", {})
        known |= dict(await self.all.list_user(user_id))
        return list(known.items())


@found_by("test_ending_all", "test_ending_all_but_an_alias_keeps_its_session")
class KeepsNone(OverComplete):
    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        return await self.all.delete_user(user_id, frozenset())


@found_by("test_ending_all_but_an_alias_keeps_its_session")
class KeepsNoAlias(OverComplete):
    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        ids = [session_id for session_id, _ in await self.all.list_user(user_id)]
        return sum([await self.all.delete(session_id) for session_id in ids if session_id not in keep])


@found_by("test_ending_many")
class EndsAPageOnly(OverComplete):
    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        ids = [session_id for session_id, _ in await self.all.list_user(user_id)]
        return sum([await self.all.delete(session_id) for session_id in ids[:100] if session_id not in keep])


@found_by("test_ending_all", "test_ending_many", "test_odd_users_are_apart", "test_sandboxes_do_not_share_users")
class DoesNotSayHowMany(OverComplete):
    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        await self.all.delete_user(user_id, keep)
        return 1


@found_by("test_logins_while_all_are_ended")
class EndsNothingThatIsOld(OverComplete):
    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        ids = [session_id for session_id, _ in await self.all.list_user(user_id)]
        await asyncio.sleep(0)
        return sum([await self.all.delete(session_id) for session_id in ids[5:]])


@found_by(
    *("test_the_oldest_is_ended", "test_room_for_one", "test_a_limit_that_comes_later"),
    "test_logins_at_the_same_time",
)
class IgnoresTheLimit(Broken):
    async def create(self, *args: Any, limit: int = 0, **options: Any) -> Existing | None:
        return await self.store.create(*args, **options)


@found_by("test_the_oldest_is_ended", "test_room_for_one")
class LeavesOneMore(Broken):
    async def create(self, *args: Any, limit: int = 0, **options: Any) -> Existing | None:
        return await self.store.create(*args, limit=limit and limit + 1, **options)


@found_by("test_the_oldest_is_ended", "test_room_for_one", "test_a_limit_that_comes_later")
class EndsTheNewest(OverComplete):
    async def create(self, session_id: str, user_id: Any, *args: Any, limit: int = 0, **options: Any) -> Any:
        existing = await self.store.create(session_id, user_id, *args, **options)
        for other, _ in (await self.all.list_user(user_id))[limit:] if limit and user_id is not None else ():
            await self.all.delete(other)
        return existing


@found_by("test_a_live_id_ends_no_other")
class MakesRoomForWhatIsThere(OverComplete):
    async def create(self, session_id: str, user_id: Any, *args: Any, limit: int = 0, **options: Any) -> Any:
        listed = await self.all.list_user(user_id) if limit and user_id is not None else []
        for other, _ in listed[: max(0, len(listed) - limit + 1)]:
            await self.all.delete(other)
        return await self.store.create(session_id, user_id, *args, **options)


@found_by("test_logins_at_the_same_time")
class LimitsInTwoSteps(OverComplete):
    async def create(self, session_id: str, user_id: Any, *args: Any, limit: int = 0, **options: Any) -> Any:
        listed = await self.all.list_user(user_id) if limit and user_id is not None else []
        await asyncio.sleep(0)
        for other, _ in listed[: max(0, len(listed) - limit + 1)]:
            await self.all.delete(other)
        return await self.store.create(session_id, user_id, *args, **options)


@found_by("test_ended_and_expired_sessions_make_room", "test_what_ended_unseen_makes_room")
class CountsWhatHasEnded(OverComplete):
    async def create(self, session_id: str, user_id: Any, *args: Any, limit: int = 0, **options: Any) -> Any:
        existing = await self.store.create(session_id, user_id, *args, **options)
        made = self.shared.setdefault(f"made for {user_id}", [])
        made.append(session_id)
        for other in made[:-limit] if limit else ():
            await self.all.delete(other)
        return existing


@found_by("test_the_same_session_under_a_new_id", "test_the_old_id_ends_at_once", "test_two_renewals_without_a_grace")
class KeepsTheOldId(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        return session_id if await self.all.touch(session_id, 0) else None


@found_by("test_the_old_id_ends_at_once", "test_two_renewals_without_a_grace")
class AlwaysGivesAGrace(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        return await self.all.renew(session_id, new_id, grace or 60, **options)


@found_by(
    *("test_the_alias_answers_for_the_session", "test_replacing_under_the_alias", "test_two_renewals_with_a_grace"),
    *("test_deleting_the_alias_deletes_the_session", "test_ending_all_but_an_alias_keeps_its_session"),
    "test_an_old_id_answers_for_all_of_its_grace_while_the_session_is_used",
)
class GivesNoGrace(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        return await self.all.renew(session_id, new_id, 0, **options)


@found_by("test_a_login_through_an_alias_leaves_no_known_id")
class KeepsTheIdOfAnAlias(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        if record is not None and record.current_id is not None:
            return record.current_id
        return await self.all.renew(session_id, new_id, grace, **options)


@found_by("test_renewing_through_an_alias_touches")
class TouchesNoAlias(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        if grace and record is not None and record.current_id is not None:
            return record.current_id
        return await self.all.renew(session_id, new_id, grace, **options)


@found_by("test_an_alias_outlives_the_deadline_that_was_extended")
class EndsAliasesAtTheFirstDeadline(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        left = 0 if record is None else record.expires - self.clock()
        return await self.all.renew(session_id, new_id, min(grace, left, **options))


@found_by("test_many_renewals_with_a_grace")
class FollowsSomeAliases(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        self.shared.setdefault("ids", []).append(session_id)
        return await self.all.renew(session_id, new_id, grace, **options)

    async def touch(self, session_id: str, interval: float) -> bool:
        return session_id not in self.shared.get("ids", [])[:-1000] and await self.all.touch(session_id, interval)


@found_by("test_the_alias_answers_for_the_session", "test_many_renewals_with_a_grace")
class NamesNoCurrentId(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        return await self.changed(session_id, current_id=None)


@found_by("test_the_alias_ends_with_the_grace")
class GivesALongGrace(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        return await self.all.renew(session_id, new_id, grace * 100, **options)


@found_by("test_the_same_session_under_a_new_id", "test_the_order_of_sessions_stays")
class RenewsByCreating(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        if record is None or not await self.all.delete(session_id):
            return None
        await self.all.create(new_id, record.user_id, record.expires - self.clock(), record.metadata)
        return new_id


@found_by("test_a_renewed_session_keeps_its_deadline", "test_the_same_session_under_a_new_id")
class RenewingLengthensLife(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        found = await self.all.renew(session_id, new_id, grace, **options)
        return found if found is None or await self.all.extend(found, 60) else None


@found_by("test_two_renewals_with_a_grace", "test_two_renewals_without_a_grace")
class RenewsInTwoSteps(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        await asyncio.sleep(0)
        if record is None:
            return None
        await self.all.renew(session_id, new_id, grace, **options)
        await self.all.create(new_id, record.user_id, 3600, record.metadata)
        return new_id


@found_by("test_renewing_no_session", "test_the_old_id_ends_at_once", "test_the_alias_ends_with_the_grace")
class RenewsWhatIsNotThere(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        found = await self.all.renew(session_id, new_id, grace, **options)
        if found is None:
            await self.all.create(new_id, None, 3600, {})
        return new_id


@found_by("test_each_once", "test_changes_meanwhile", "test_of_this_sandbox_only")
class SkipsOneOfEachPage(OverComplete):
    async def pages(self, batch: int) -> AsyncIterator[Sessions]:
        async for page in self.all.pages(batch):
            yield page[1:]


@found_by("test_each_once", "test_of_this_sandbox_only", "test_breaking_off")
class GivesEachPageTwice(OverComplete):
    async def pages(self, batch: int) -> AsyncIterator[Sessions]:
        async for page in self.all.pages(batch):
            yield page
            yield page


@found_by("test_changes_meanwhile")
class PagesByNumber(OverComplete):
    async def pages(self, batch: int) -> AsyncIterator[Sessions]:
        start = 0
        while page := [pair async for pages in self.all.pages(10_000) for pair in pages][start : start + batch]:
            yield page
            start += batch


@found_by("test_breaking_off")
class ForgetsWhatWasNotSeen(OverComplete):
    async def pages(self, batch: int) -> AsyncIterator[Sessions]:
        finished = False
        try:
            async for page in self.all.pages(batch):
                yield page
            finished = True
        finally:
            if not finished:
                self.shared["broken off"] = True

    async def count(self) -> int:
        await asyncio.sleep(0.01)
        return 0 if self.shared.get("broken off") else await self.all.count()


@found_by("test_each_once", "test_of_this_sandbox_only", "test_what_has_ended_does_not_come")
class CountsTooMany(OverComplete):
    async def count(self) -> int:
        return await self.all.count() + 1


@found_by("test_what_has_ended_does_not_come")
class GoesThroughAliases(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        self.shared.setdefault("aliases", []).append(session_id)
        return await self.all.renew(session_id, new_id, grace, **options)

    async def pages(self, batch: int) -> AsyncIterator[Sessions]:
        async for page in self.all.pages(batch):
            yield page
        for alias in self.shared.get("aliases", []):
            record = await self.all.read(alias)
            yield [] if record is None else [(alias, record)]


@found_by("test_sweeping")
class SweepsNothing(Broken):
    async def sweep(self) -> int:
        return 0


@found_by("test_what_has_expired_is_not_counted", "test_sweeping")
class CountsWhatIsNotThere(Broken):
    def cached(self) -> int:
        self.shared["most"] = max(self.shared.get("most", 0), super().cached())
        return int(self.shared["most"])


@found_by("test_there_is_room")
class HasNoRoom(Broken):
    def capacity(self) -> int:
        return 0
