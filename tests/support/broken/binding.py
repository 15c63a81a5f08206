"""Stores that fail at giving a session of nobody to a user, or at metadata that comes with a new id."""

from __future__ import annotations

import asyncio
from typing import Any

from chuk_sessions.exceptions import SessionTakenError
from chuk_sessions.stores import SessionRecord
from tests.support.broken.base import found_by
from tests.support.broken.users import OverComplete

__all__: list[str] = []


@found_by(
    "test_a_session_of_nobody_becomes_the_users", "test_it_can_become_anybodys", "test_many_logins_of_one_session"
)
class GivesToNobody(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        options.pop("user_id", None)
        options.pop("limit", None)
        return await self.all.renew(session_id, new_id, grace, **options)


@found_by(
    *("test_a_session_of_nobody_becomes_the_users", "test_a_session_of_that_user_is_renewed"),
    *("test_metadata_comes_with_a_new_id", "test_refused_metadata_binds_nothing"),
)
class LosesTheMetadata(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        options.pop("metadata", None)
        return await self.all.renew(session_id, new_id, grace, **options)


@found_by("test_refused_metadata_binds_nothing", "test_the_session_of_another_user_is_refused")
class WritesMetadataFirst(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        await self.all.update(session_id, {"role": "user"}, False)
        return await self.all.renew(session_id, new_id, grace, **options)


@found_by("test_metadata_comes_with_a_new_id", "test_a_session_of_nobody_becomes_the_users")
class ReplacesTheMetadata(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        found = await self.all.renew(session_id, new_id, grace, **options)
        if found is not None and options.get("metadata") is not None:
            await self.all.update(found, options["metadata"], True)
        return found


@found_by("test_the_session_of_another_user_is_refused", "test_under_an_alias")
class TakesFromOthers(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        try:
            return await self.all.renew(session_id, new_id, grace, **options)
        except SessionTakenError:
            options.pop("user_id")
            return await self.all.renew(session_id, new_id, grace, **options)


@found_by("test_a_bound_session_keeps_its_deadlines", "test_sessions_of_nobody_are_bound_apart")
class CreatesAnew(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.store.read(session_id)
        if "user_id" not in options or record is None or record.user_id is not None:
            return await self.all.renew(session_id, new_id, grace, **options)
        await self.all.delete_user(options["user_id"], frozenset())
        await self.all.delete_user("bob", frozenset())
        await self.all.delete(session_id)
        metadata = record.metadata | (options.get("metadata") or {})
        await self.all.create(new_id, options["user_id"], 3600, metadata)
        return new_id


@found_by("test_a_bound_session_ends_with_the_users", "test_binding_at_the_limit")
class ListsNothingThatWasBound(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        found = await self.all.renew(session_id, new_id, grace, **options)
        if found is not None and "user_id" in options:
            self.shared[found] = True
        return found

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        return [pair for pair in await self.all.list_user(user_id) if pair[0] not in self.shared]


@found_by("test_binding_at_the_limit")
class BindsBeyondTheLimit(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        options.pop("limit", None)
        return await self.all.renew(session_id, new_id, grace, **options)


@found_by("test_many_logins_of_one_session")
class BindsInTwoSteps(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        await asyncio.sleep(0)
        if record is None or record.user_id is not None or "user_id" not in options:
            return await self.all.renew(session_id, new_id, grace, **options)
        await self.all.delete(session_id)
        await self.all.create(new_id, options["user_id"], 3600, record.metadata | (options.get("metadata") or {}))
        return new_id


@found_by("test_binding_no_session")
class BindsWhatIsNotThere(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        found = await self.all.renew(session_id, new_id, grace, **options)
        if found is None:
            await self.all.create(new_id, options.get("user_id"), 3600, {})
        return new_id


@found_by(
    *("test_under_an_alias", "test_a_session_of_nobody_under_an_alias"),
    "test_a_bound_session_is_renewed_under_its_old_id",
)
class BindsUnderNoAlias(OverComplete):
    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        record = await self.all.read(session_id)
        if record is not None and record.current_id is not None:
            return None
        return await self.all.renew(session_id, new_id, grace, **options)
