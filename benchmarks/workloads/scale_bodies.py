"""The timed loops at the size that users have: many sessions, each of a user of its own.

The calls on values need no bodies of their own: ``bodies`` has them, and a shuffled workload gives them other orders.
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.bodies import sample
from benchmarks.workloads.manager_bodies import METADATA, UPDATE, ManagerBody


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


class ValidateEach(OfManyUsers):
    """Validate each session once."""

    async def work(self, store: Any, items: list[str]) -> None:
        validate = store.validate_session
        for session_id in items:
            await validate(session_id)


class UpdateEach(OfManyUsers):
    """Merge one new field into the metadata of each session."""

    async def work(self, store: Any, items: list[str]) -> None:
        update = store.update_session_metadata
        for session_id in items:
            await update(session_id, UPDATE)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            assert (await store.get_session_info(session_id))["custom_metadata"] == METADATA | UPDATE


class InfoOfEach(OfManyUsers):
    """Read each session once."""

    async def work(self, store: Any, items: list[str]) -> None:
        info = store.get_session_info
        for session_id in items:
            await info(session_id)


class DeleteEach(OfManyUsers):
    """End each session, in another order than they began."""

    async def work(self, store: Any, items: list[str]) -> None:
        delete = store.delete_session
        for session_id in items:
            await delete(session_id)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            assert await store.get_session_info(session_id) is None
