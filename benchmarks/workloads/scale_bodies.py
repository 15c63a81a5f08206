"""The timed loops at the size that users have: many sessions, each of a user of its own.

The calls on values need no bodies of their own: ``bodies`` has them, and a shuffled workload gives them other orders.
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.bodies import sample
from benchmarks.workloads.manager_bodies import METADATA, Info, ManagerBody, Update, Validate


class OfManyUsers(ManagerBody):
    """Works on sessions of as many users; the items are replaced by the sessions' ids."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        for index, name in enumerate(items):
            items[index] = await store.allocate_session(user_id=f"user-{name}", custom_metadata=METADATA)

    async def check(self, store: Any, items: list[str]) -> None:
        users = set()
        for session_id in sample(items):
            info = await store.get_session_info(session_id)
            assert METADATA.items() <= info["custom_metadata"].items()
            users.add(info["user_id"])
        assert len(users) == len(sample(items))


class AllocateForEach(OfManyUsers):
    """Create a session for each of many users; the items stay the names of the users."""

    def __init__(self) -> None:
        self.made: list[str] = []

    async def prepare(self, store: Any, items: list[str]) -> None:
        """Nothing: the run allocates."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await self.clean(store, items)

    async def work(self, store: Any, items: list[str]) -> None:
        allocate = store.allocate_session
        self.made = [await allocate(user_id=user, custom_metadata=METADATA) for user in items]

    async def check(self, store: Any, items: list[str]) -> None:
        assert len(self.made) == len(items)
        await super().check(store, self.made)

    async def clean(self, store: Any, items: list[str]) -> None:
        await super().clean(store, self.made)
        self.made = []


class ValidateEach(OfManyUsers, Validate):
    """Validate each session once."""


class UpdateEach(Update, OfManyUsers):
    """Merge one field into the metadata of each session."""


class InfoOfEach(OfManyUsers, Info):
    """Read each session once."""


class DeleteEach(OfManyUsers):
    """End each session, in another order than they began. The items are the ids, so that every run has them anew."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        """Nothing: ``reset`` allocates."""

    async def reset(self, store: Any, items: list[str]) -> None:
        for name in items:
            await store.allocate_session(session_id=name, user_id=f"user-{name}", custom_metadata=METADATA)

    async def work(self, store: Any, items: list[str]) -> None:
        delete = store.delete_session
        for session_id in items:
            await delete(session_id)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            assert await store.get_session_info(session_id) is None
