"""The figures of a store that holds its sessions in this process."""

from __future__ import annotations

from chuk_sessions.testing.clock import Clock
from chuk_sessions.testing.contract.base import InProcessStore, StoreFixtures, Time

__all__ = ["FigureTests"]


class FigureTests(StoreFixtures):
    """``sweep``, ``cached`` and ``capacity``, of a store that is ``InProcess``."""

    async def test_sweeping(self, process_store: InProcessStore, moved: Clock) -> None:
        """A sweep counts the expired sessions, reclaims each once, and leaves the others. ``cached`` counts those."""
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
        """It is left out without a sweep, and at any fraction of a second."""
        await process_store.create("short", None, 0.5, {})
        await process_store.create("long", None, 500, {})
        await process_store.create("deleted", None, 500, {})
        assert process_store.cached() == 3
        await process_store.delete("deleted")
        assert process_store.cached() == 2
        await time.passes(0.5)
        assert process_store.cached() == 1

    async def test_there_is_room(self, process_store: InProcessStore) -> None:
        """The capacity is at least the number of sessions."""
        await process_store.create("id", None, 500, {})
        assert process_store.capacity() >= process_store.cached() == 1
