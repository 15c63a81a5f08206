"""The timed loops on a session manager; user, metadata and update are those of the quick start of 0.2."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.bodies import Body, sample

USER = "alice"
METADATA = {"role": "admin", "department": "engineering", "permissions": ["read", "write", "admin"]}
UPDATE = {"last_activity": "2024-01-01T12:00:00Z"}


class ManagerBody(Body):
    """Works on sessions of one manager; the items are replaced by their ids."""

    async def prepare(self, store: Any, items: list[str]) -> None:
        for index in range(len(items)):
            items[index] = await store.allocate_session(user_id=USER, custom_metadata=METADATA)

    async def clean(self, store: Any, items: list[str]) -> None:
        for session_id in items:
            await store.delete_session(session_id)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            info = await store.get_session_info(session_id)
            assert info["user_id"] == USER
            assert METADATA.items() <= info["custom_metadata"].items()


class Allocate(ManagerBody):
    """Create sessions of one user with metadata."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await self.clean(store, items)

    async def work(self, store: Any, items: list[str]) -> None:
        allocate = store.allocate_session
        for index in range(len(items)):
            items[index] = await allocate(user_id=USER, custom_metadata=METADATA)


class AllocateForMany(Allocate):
    """Create sessions of many users, or of nobody, to see what the index of a user's sessions costs."""

    def __init__(self, users: int) -> None:
        self.users: list[str | None] = [f"user-{number}" for number in range(users)] or [None]

    async def prepare(self, store: Any, items: list[str]) -> None:
        """Nothing: the first run allocates."""

    async def work(self, store: Any, items: list[str]) -> None:
        allocate, users = store.allocate_session, self.users
        first = hash(items[0]) % len(users)
        for index in range(len(items)):
            items[index] = await allocate(user_id=users[(first + index) % len(users)], custom_metadata=METADATA)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            info = await store.get_session_info(session_id)
            assert info["user_id"] in self.users
            assert METADATA.items() <= info["custom_metadata"].items()


class Validate(ManagerBody):
    """Validate live sessions; each validation writes the time of last access."""

    async def work(self, store: Any, items: list[str]) -> None:
        validate = store.validate_session
        for session_id in items:
            await validate(session_id)

    async def check(self, store: Any, items: list[str]) -> None:
        assert not await store.validate_session("sess-nobody-1-00000000")
        for session_id in sample(items):
            assert await store.validate_session(session_id)


class ValidateForMany(Validate):
    """Validate sessions of so many users; with 0 each session is of a user of its own."""

    def __init__(self, users: int) -> None:
        self.users = users

    async def prepare(self, store: Any, items: list[str]) -> None:
        prefix = items[0]
        for index in range(len(items)):
            user = f"user-{(hash(prefix) + index) % self.users}" if self.users else f"user-{prefix}-{index}"
            items[index] = await store.allocate_session(user_id=user, custom_metadata=METADATA)


class Update(ManagerBody):
    """Merge one field into the metadata of sessions that have it from the second time on."""

    async def work(self, store: Any, items: list[str]) -> None:
        update = store.update_session_metadata
        for session_id in items:
            await update(session_id, UPDATE)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            assert (await store.get_session_info(session_id))["custom_metadata"] == METADATA | UPDATE


class Info(ManagerBody):
    """Read sessions, metadata included."""

    async def work(self, store: Any, items: list[str]) -> None:
        info = store.get_session_info
        for session_id in items:
            await info(session_id)


class Open(ManagerBody):
    """Touch and read sessions in one call."""

    async def work(self, store: Any, items: list[str]) -> None:
        open_session = store.open_session
        for session_id in items:
            await open_session(session_id)

    async def check(self, store: Any, items: list[str]) -> None:
        for session_id in sample(items):
            info = await store.open_session(session_id, owner=USER)
            assert info == await store.get_session_info(session_id)
        await super().check(store, items)


class ValidateAndInfo(ManagerBody):
    """Touch sessions, then read them."""

    async def work(self, store: Any, items: list[str]) -> None:
        validate, info = store.validate_session, store.get_session_info
        for session_id in items:
            await validate(session_id)
            await info(session_id)


class ArtifactKey(Body):
    """Build grid paths of one session: a plain call, nothing is awaited."""

    session_id = "sess-alice-1234567890-0123456789abcdef0123456789abcdef012345"

    async def work(self, store: Any, items: list[str]) -> None:
        session_id, generate = self.session_id, store.generate_artifact_key
        for artifact_id in items:
            generate(session_id, artifact_id)

    async def check(self, store: Any, items: list[str]) -> None:
        for artifact_id in sample(items):
            path = store.generate_artifact_key(self.session_id, artifact_id)
            assert path == f"grid/{store.sandbox_id}/{self.session_id}/{artifact_id}"


class BareFormat(ArtifactKey):
    """The same text by an f-string, without any call."""

    async def work(self, store: Any, items: list[str]) -> None:
        session_id, sandbox_id = self.session_id, store.sandbox_id
        for artifact_id in items:
            f"grid/{sandbox_id}/{session_id}/{artifact_id}"  # the text is dropped: making it is what is measured

    async def check(self, store: Any, items: list[str]) -> None:
        """Nothing: an f-string is right."""
