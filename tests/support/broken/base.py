"""What the broken stores have in common, and the list of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from chuk_sessions.providers import memory
from chuk_sessions.stores import SessionRecord, StoreWrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.stores import SessionStore
    from chuk_sessions.testing import Clock

Kind = TypeVar("Kind", bound="type[Broken]")
FOUND_BY: dict[type[Broken], tuple[str, ...]] = {}


def found_by(*tests: str) -> Callable[[Kind], Kind]:
    """List a store with the tests that must fail for it, each in at least one of its cases."""

    def note(kind: Kind) -> Kind:
        FOUND_BY[kind] = tests
        return kind

    return note


class Broken(StoreWrapper):
    """A memory store that keeps every promise, for the others to override."""

    # What the stores of a test share beside the sessions, for those that keep a thing too long.
    shared: ClassVar[dict[str, Any]] = {}

    def __init__(self, store: SessionStore, clock: Clock) -> None:
        super().__init__(store)
        self.clock = clock

    @classmethod
    def make_opener(cls, clock: Clock) -> Callable[[str], SessionStore]:
        """Opens the stores within, on an empty storage."""
        return memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock)).session_store

    @classmethod
    def name_of(cls, sandbox_id: str) -> str:
        """Which sandbox to open for that one."""
        return sandbox_id

    async def changed(self, session_id: str, **changes: Any) -> SessionRecord | None:
        """What the store within reads, with other values."""
        record = await self.store.read(session_id)
        return record and dataclasses.replace(record, **changes)

    async def put_back(self, session_id: str, record: SessionRecord) -> None:
        """Create a session anew from what was read of it."""
        await self.store.delete(session_id)
        lifetime = record.expires - self.clock()
        await self.store.create(session_id, record.user_id, lifetime, record.metadata, idle=record.idle)
