"""The timed loops on sessions with four fields of 100 bytes and one of 2 KB: what it costs to seal them."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.bodies import sample
from benchmarks.workloads.manager_bodies import USER, ManagerBody

SHORT, LONG = "x" * 98, "y" * 2_046  # with their quotes 100 bytes and 2 KB of JSON
FOUR = {f"field-{number}": SHORT for number in range(4)}
FIVE = FOUR | {"long": LONG}


class FieldsBody(ManagerBody):
    """Works on sessions with that metadata."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata

    async def prepare(self, store: Any, items: list[str]) -> None:
        for index in range(len(items)):
            items[index] = await store.allocate_session(user_id=USER, custom_metadata=self.metadata)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            assert (await store.get_session_info(session_id))["custom_metadata"] == self.metadata


class InfoOfFields(FieldsBody):
    """Read them."""

    async def work(self, store: Any, items: list[str]) -> None:
        info = store.get_session_info
        for session_id in items:
            await info(session_id)


class ValidateWithFields(FieldsBody):
    """Validate them, for which no metadata is read."""

    async def work(self, store: Any, items: list[str]) -> None:
        validate = store.validate_session
        for session_id in items:
            await validate(session_id)


class UpdateOfField(FieldsBody):
    """Set one of the fields to the value that it has."""

    def __init__(self, metadata: dict[str, Any], field: str) -> None:
        super().__init__(metadata)
        self.change = {field: metadata[field]}

    async def work(self, store: Any, items: list[str]) -> None:
        update, change = store.update_session_metadata, self.change
        for session_id in items:
            await update(session_id, change)


class AllocateWithFields(FieldsBody):
    """Create them."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await self.clean(store, items)

    async def work(self, store: Any, items: list[str]) -> None:
        allocate, metadata = store.allocate_session, self.metadata
        for index in range(len(items)):
            items[index] = await allocate(user_id=USER, custom_metadata=metadata)
