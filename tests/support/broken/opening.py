"""Stores that fail at touching and reading in one step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tests.support.broken.base import Broken, found_by

if TYPE_CHECKING:
    from chuk_sessions.stores import SessionRecord

__all__: list[str] = []


@found_by("test_opening_touches_and_reads", "test_opening_keeps_an_idle_session")
class OpensWithoutATouch(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        record = await self.store.read(session_id)
        return None if record is None or owner not in (None, record.user_id) else record


@found_by(
    "test_opening_touches_and_reads",
    "test_opening_within_the_interval_writes_nothing",
    "test_opening_keeps_an_idle_session",
)
class TellsHowItWasBeforeItWasOpened(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        record = await self.store.read(session_id)
        return record if await self._openable.open(session_id, interval, owner) else None  # type: ignore[union-attr]


@found_by("test_the_session_of_another_is_not_touched", "test_opening_keeps_an_idle_session")
class TouchesBeforeItKnowsWhose(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        await self.store.touch(session_id, interval)
        return await super().open(session_id, interval, owner)


@found_by("test_the_session_of_another_is_not_touched", "test_opening_under_an_alias")
class OpensForAnybody(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        return await super().open(session_id, interval, None)


@found_by("test_the_session_of_another_is_not_touched", "test_any_text_can_be_the_owner")
class TakesTheEmptyOwnerForAnybody(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        record = await super().open(session_id, interval, owner or None)
        return None if record is not None and record.user_id == "" else record


@found_by("test_opening_within_the_interval_writes_nothing")
class OpensWithoutAnInterval(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        return await super().open(session_id, 0, owner)


@found_by("test_what_opening_gives_is_a_copy")
class GivesTheSameObject(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        record = await super().open(session_id, interval, owner)
        return record and self.shared.setdefault(session_id, record)

    async def read(self, session_id: str) -> SessionRecord | None:
        return self.shared.get(session_id) or await self.store.read(session_id)


@found_by("test_opening_under_an_alias")
class ForgetsUnderWhichIdItOpened(Broken):
    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        record = await super().open(session_id, interval, owner)
        return record and dataclasses.replace(record, current_id=None)
