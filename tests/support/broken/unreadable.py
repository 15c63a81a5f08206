"""Stores that fail at records which they cannot read, over the store for custom providers."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.stores.keyvalue import KeyValueStore
from tests.support import custom_provider
from tests.support.broken.base import Broken, found_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.stores import Existing, SessionRecord, SessionStore
    from chuk_sessions.testing import Clock

__all__ = ["OverKeyValue"]

logger = logging.getLogger(__name__)


class OverKeyValue(Broken):
    """One that keeps every promise."""

    @classmethod
    def make_opener(cls, clock: Clock) -> Callable[[str], SessionStore]:
        factory = custom_provider.factory(cls.shared.setdefault("data", {}))
        return lambda sandbox_id: KeyValueStore(factory, sandbox_id, wall_clock=clock)

    @classmethod
    async def spoil(cls, sandbox_id: str, session_id: str) -> None:
        key = session_key(quote_part(sandbox_id), session_id)
        assert key in cls.shared["data"]
        cls.shared["data"][key] = ("no record", math.inf)


@found_by("test_an_unreadable_record_counts_as_absent")
class RaisesWhenItCannotRead(OverKeyValue):
    async def read(self, session_id: str) -> SessionRecord | None:
        record = await self.store.read(session_id)
        if record is None and self.shared["data"]:
            raise ValueError("no record")
        return record


@found_by("test_an_unreadable_record_counts_as_absent")
class CreatesOverWhatItCannotRead(OverKeyValue):
    async def create(self, session_id: str, *args: Any, **options: Any) -> Existing | None:
        if await self.store.read(session_id) is None:
            await self.store.delete(session_id)
        return await self.store.create(session_id, *args, **options)


@found_by("test_an_unreadable_record_counts_as_absent")
class DropsWhatItCannotRead(OverKeyValue):
    async def read(self, session_id: str) -> SessionRecord | None:
        record = await self.store.read(session_id)
        if record is None:
            await self.store.delete(session_id)
        return record


@found_by("test_an_unreadable_record_counts_as_absent")
class DeletesNoneThatItCannotRead(OverKeyValue):
    async def delete(self, session_id: str) -> bool:
        return await self.store.read(session_id) is not None and await self.store.delete(session_id)


@found_by("test_an_unreadable_record_counts_as_absent")
class LogsEachTime(OverKeyValue):
    async def read(self, session_id: str) -> SessionRecord | None:
        record = await self.store.read(session_id)
        if record is None:
            logger.warning("a record cannot be read")
        return record


@found_by("test_an_unreadable_record_counts_as_absent")
class LogsTheId(OverKeyValue):
    async def read(self, session_id: str) -> SessionRecord | None:
        self.store._reported = True  # type: ignore[attr-defined]
        record = await self.store.read(session_id)
        if record is None and not self.shared.get("logged"):
            self.shared["logged"] = True
            logger.warning("the record of %s cannot be read", session_id)
        return record
