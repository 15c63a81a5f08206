"""Stores that fail at creating, reading, touching, deleting, or keeping sessions apart."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from chuk_sessions.providers import memory
from chuk_sessions.stores import DeadlineError, Existing, SessionRecord
from chuk_sessions.testing import Clock
from tests.support.broken.base import Broken, found_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.stores import Metadata, SessionStore

__all__: list[str] = []


@found_by("test_a_session_that_never_was", "test_a_deleted_session_is_not_revived", "test_nothing_survives_a_delete")
class RevivesInUpdate(Broken):
    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        if not await self.store.update(session_id, metadata, replace, **options):
            await self.store.create(session_id, None, 3600, metadata)
        return True


@found_by("test_nothing_survives_a_delete")
class RevivesWhatIsDeletedMeanwhile(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        record = await self.store.read(session_id)
        await asyncio.sleep(0)
        if record is not None and not await self.store.touch(session_id, interval):
            await self.put_back(session_id, record)
        return record is not None


@found_by("test_a_deleted_session_is_not_revived", "test_an_id_can_be_used_again", "test_touch_interval_and_deletion")
class DeletesNothing(Broken):
    async def delete(self, session_id: str) -> bool:
        return await self.store.read(session_id) is not None


@found_by(
    *("test_a_session_that_never_was", "test_an_expired_session_is_not_found", "test_expiry_to_the_instant"),
    "test_one_of_many_deletes_finds_the_session",
)
class AlwaysSaysDeleted(Broken):
    async def delete(self, session_id: str) -> bool:
        return await self.store.delete(session_id) or True


@found_by("test_touch_interval_and_deletion")
class RemembersWhatItTouched(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        if interval and session_id in self.shared:
            return True
        alive = await self.store.touch(session_id, interval)
        if alive:
            self.shared[session_id] = True
        return alive


@found_by(
    *("test_create_on_a_live_id_touches_only", "test_user_ids", "test_the_deadline_of_create_on_a_live_id_stays"),
    *(
        "test_create_on_a_live_id_changes_no_list",
        "test_a_live_id_ends_no_other",
        "test_refused_metadata_changes_nothing",
    ),
)
class CreateOverwrites(Broken):
    async def create(self, session_id: str, *args: Any, **options: Any) -> Existing | None:
        await self.store.delete(session_id)
        return await self.store.create(session_id, *args, **options)


@found_by("test_one_of_many_creates_wins")
class CreateLooksFirst(Broken):
    async def create(self, session_id: str, *args: Any, **options: Any) -> Existing | None:
        record = await self.store.read(session_id)
        await asyncio.sleep(0)
        if record is None:
            await self.store.delete(session_id)
        return await self.store.create(session_id, *args, **options)


@found_by("test_create_on_a_live_id_touches_only", "test_accessed_follows_the_clock", "test_every_touch_keeps_it")
class CreateDoesNotTouch(Broken):
    async def create(self, session_id: str, *args: Any, **options: Any) -> Existing | None:
        record = await self.store.read(session_id)
        return await self.store.create(session_id, *args, **options) if record is None else Existing(record.user_id)


@found_by("test_user_ids", "test_odd_users_are_apart")
class TakesTheEmptyUserForNobody(Broken):
    async def create(self, session_id: str, user_id: str | None, *args: Any, **options: Any) -> Existing | None:
        return await self.store.create(session_id, user_id or None, *args, **options)


@found_by("test_create_and_read", "test_user_ids", "test_sandboxes_are_apart")
class ForgetsTheUser(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        return await self.changed(session_id, user_id=None)


@found_by("test_create_and_read", "test_extensions_add_up", "test_the_two_deadlines")
class TellsNoDeadline(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        return await self.changed(session_id, expires=math.inf)


@found_by("test_reading_does_not_touch", "test_accessed_follows_the_clock", "test_it_ends_when_it_is_not_touched")
class ReadTouches(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        await self.store.touch(session_id, 0)
        return await self.store.read(session_id)


@found_by("test_touch", "test_touch_interval", "test_touch_interval_comes_round", "test_touch_interval_to_the_second")
class WritesNoTouch(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        return await self.store.read(session_id) is not None


@found_by("test_touch_interval", "test_touch_interval_to_the_second")
class IgnoresTheInterval(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        return await self.store.touch(session_id, 0)


@found_by("test_what_is_read_is_a_copy", "test_what_was_merged_is_a_copy")
class HandsOutWhatItHolds(Broken):
    async def create(self, session_id: str, user_id: Any, lifetime: Any, metadata: Any, **options: Any) -> Any:
        self.shared[session_id] = metadata
        return await self.store.create(session_id, user_id, lifetime, metadata, **options)

    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        self.shared[session_id] = metadata
        return await self.store.update(session_id, metadata, replace, **options)

    async def read(self, session_id: str) -> SessionRecord | None:
        return await self.changed(session_id, metadata=self.shared.get(session_id))


@found_by("test_odd_ids_are_different_sessions")
class IgnoresTheCaseOfIds(Broken):
    def create(self, session_id: str, *args: Any, **options: Any) -> Any:
        return self.store.create(session_id.lower(), *args, **options)

    def read(self, session_id: str) -> Any:
        return self.store.read(session_id.lower())


@found_by("test_odd_ids_are_different_sessions", "test_user_ids", "test_odd_users_are_apart")
class RefusesWhatIsNoUnicode(Broken):
    async def create(self, session_id: str, user_id: str | None, *args: Any, **options: Any) -> Existing | None:
        (session_id + (user_id or "")).encode()
        return await self.store.create(session_id, user_id, *args, **options)


@found_by(
    *("test_sandboxes_are_apart", "test_no_operation_reaches_another_sandbox", "test_of_this_sandbox_only"),
    "test_sandboxes_do_not_share_users",
)
class SharesSandboxes(Broken):
    @classmethod
    def name_of(cls, sandbox_id: str) -> str:
        return "one for all"


@found_by("test_sandboxes_are_apart", "test_of_this_sandbox_only")
class TrimsTheNamesOfSandboxes(Broken):
    @classmethod
    def name_of(cls, sandbox_id: str) -> str:
        return sandbox_id.strip("* ").lower()


@found_by("test_closing_a_store_leaves_the_sessions")
class EndsAllWhenClosed(Broken):
    async def aclose(self) -> None:
        async for page in self.pages(100):
            for session_id, _ in page:
                await self.store.delete(session_id)


@found_by("test_closing_a_store_leaves_the_sessions")
class ClosesOnce(Broken):
    closed = False

    async def aclose(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


@found_by(
    *("test_an_expired_session_is_not_found", "test_expiry_to_the_instant", "test_an_extended_session_ends"),
    *("test_extension_to_the_instant", "test_touching_and_updating_do_not_lengthen_life", "test_sweeping"),
    *("test_what_has_ended_is_not_listed", "test_what_has_ended_does_not_come", "test_what_has_expired_is_not_counted"),
    *("test_ended_and_expired_sessions_make_room", "test_a_renewed_session_keeps_its_deadline"),
)
class NeverExpires(Broken):
    @classmethod
    def make_opener(cls, clock: Clock) -> Callable[[str], SessionStore]:
        return memory.factory(memory.MemoryStore(clock=Clock(), wall_clock=clock)).session_store


@found_by("test_an_expired_session_is_not_found", "test_expiry_to_the_instant")
class RoundsLifetimesUp(Broken):
    async def create(self, session_id: str, user_id: Any, lifetime: float, *args: Any, **options: Any) -> Any:
        return await self.store.create(session_id, user_id, math.ceil(lifetime), *args, **options)


@found_by("test_touching_and_updating_do_not_lengthen_life", "test_touch")
class LivesAsLongAsItIsTouched(Broken):
    async def touch(self, session_id: str, interval: float) -> bool:
        return await self.store.touch(session_id, interval) and await self.store.extend(session_id, 0.1)


@found_by("test_extend_counts_from_the_deadline", "test_extension_to_the_instant", "test_extensions_add_up")
class ExtendsFromNow(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        record = await self.store.read(session_id)
        if record is not None:
            await self.store.extend(session_id, lifetime, from_now=True)
        return record is not None


@found_by("test_no_deadline_beyond_the_year_9999", "test_no_deadline_from_now_beyond_the_year_9999")
class LosesWhatLivesTooLong(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        try:
            return await self.store.extend(session_id, lifetime, **options)
        except DeadlineError:
            await self.store.delete(session_id)
            raise


@found_by(
    *("test_an_extended_session_lives_on", "test_extensions_add_up", "test_an_extended_session_stays_listed"),
    *("test_a_deadline_from_now", "test_a_session_is_listed_until_its_deadline_from_now"),
    *("test_a_session_ends_at_its_earlier_deadline", "test_a_session_lives_to_its_later_deadline"),
    "test_an_earlier_deadline_is_the_idle_one_too",
)
class ForgetsToExtend(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        return await self.store.touch(session_id, 0)


@found_by("test_a_deadline_from_now", "test_one_of_many_deadlines_is_the_last")
class AlwaysExtendsFromTheDeadline(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        return await self.store.extend(session_id, lifetime)


@found_by("test_a_session_ends_at_its_earlier_deadline", "test_an_earlier_deadline_is_the_idle_one_too")
class OnlyMovesDeadlinesLater(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        record = await self.store.read(session_id)
        if record is not None and options and self.clock() + lifetime < record.expires:
            return await self.store.touch(session_id, 0)
        return await self.store.extend(session_id, lifetime, **options)


@found_by("test_an_extension_counts_from_the_deadline_that_was_set")
class RemembersTheFirstDeadline(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        record = await self.store.read(session_id)
        if record is None or options:
            self.shared.setdefault(session_id, record and record.expires)
            return await self.store.extend(session_id, lifetime, **options)
        first = self.shared.get(session_id, record.expires)
        return await self.store.extend(session_id, first + lifetime - self.clock(), from_now=True)


@found_by("test_a_deadline_of_no_session", "test_a_session_that_never_was")
class RevivesForADeadline(Broken):
    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        if options:
            await self.store.create(session_id, None, lifetime, {})
        return await self.store.extend(session_id, lifetime, **options)


@found_by("test_accessed_never_runs_backwards")
class AccessedRunsBackwards(Broken):
    async def read(self, session_id: str) -> SessionRecord | None:
        record = await self.store.read(session_id)
        return record and await self.changed(session_id, accessed=min(record.accessed, self.clock()))
