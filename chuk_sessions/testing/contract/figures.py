"""What a store says of the process that it keeps its sessions in."""

from __future__ import annotations

from chuk_sessions.testing.clock import Clock
from chuk_sessions.testing.contract.base import InProcessStore, StoreFixtures, Time

__all__ = ["FigureTests"]


class FigureTests(StoreFixtures):
    """``sweep``, ``cached`` and ``capacity``, of a store that is ``InProcess``."""

    async def test_sweeping(self, process_store: InProcessStore, moved: Clock) -> None:
        """It counts what has expired, reclaims it once, and leaves the others; so does counting."""
        for number in range(1000):
            await process_store.create(f"short-{number}", None, 5.5, {})
            await process_store.create(f"long-{number}", None, 500, {})
        assert await process_store.sweep() == 0
        assert process_store.cached() == 2000
        moved.move(5.5)
        assert await process_store.sweep() == 1000
        assert await process_store.sweep() == 0
        assert process_store.cached() == 1000
        assert await process_store.touch("long-7", 0) is True

    async def test_what_has_expired_is_not_counted(self, process_store: InProcessStore, time: Time) -> None:
        """Without a sweep, and also within a second."""
        await process_store.create("short", None, 0.5, {})
        await process_store.create("long", None, 500, {})
        await process_store.create("deleted", None, 500, {})
        assert process_store.cached() == 3
        await process_store.delete("deleted")
        assert process_store.cached() == 2
        await time.passes(0.5)
        assert process_store.cached() == 1

    async def test_there_is_room(self, process_store: InProcessStore) -> None:
        """The capacity is at least what is there."""
        await process_store.create("id", None, 500, {})
        assert process_store.capacity() >= process_store.cached() == 1
