"""The timed loops on a manager with a near cache, and on the same manager without one."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.manager_bodies import Info, Validate

__all__ = ["InfoHit", "InfoMiss", "InfoOfServer", "ValidateHit", "ValidateOfServer"]

READS = 4  # of a session: to arm the connection, to get the lease, to keep the session, and to look at it first


async def touch_once(store: Any, items: list[str]) -> None:
    """Touch the sessions, so that no validation writes; the client also learns the time of the server."""
    assert all(await store.validate_sessions(items))


async def warm(store: Any, items: list[str]) -> None:
    """Have all sessions in the cache, looked at once: what is measured is the hit that comes again and again."""
    await touch_once(store, items)
    for _ in range(READS):
        for session_id in items:
            await store.get_session_info(session_id)
            assert await store.validate_session(session_id)


class InfoOfServer(Info):
    """Read sessions without a near cache."""


class InfoHit(Info):
    """Read sessions that are in the near cache."""

    async def reset(self, store: Any, items: list[str]) -> None:
        if store.get_cache_stats()["cached_sessions"] < len(items):
            await warm(store, items)


class InfoMiss(Info):
    """Read sessions that are not in the near cache, each once."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        await super().prepare(store, items)
        await warm(store, items)
        self._plain = type(store)(store.sandbox_id, store.session_factory)

    async def reset(self, store: Any, items: list[str]) -> None:
        """Change the sessions through a manager that shares the connection: this drops them from the cache."""
        await touch_once(self._plain, items)


class ValidateOfServer(Validate):
    """Validate sessions without a near cache, when no touch is due."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await touch_once(store, items)


class ValidateHit(Validate):
    """Validate sessions that are in the near cache."""

    async def reset(self, store: Any, items: list[str]) -> None:
        if store.get_cache_stats()["cached_sessions"] < len(items):
            await warm(store, items)
