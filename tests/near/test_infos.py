"""Info dicts that a hit of the near cache makes without a record: the same as without one, and each the caller's own.

This is so for metadata that orjson decodes as one object, from the third copy on; see ``Snapshot``.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.providers import memory
from chuk_sessions.providers.redis.snapshot import WORTH_IT, Snapshot
from chuk_sessions.stores import StoreWrapper, stack
from chuk_sessions.testing.samples import same
from tests.near.test_manager import CHANGES, Near
from tests.support.helpers import eventually, time_passes
from tests.support.servers import Server
from tests.support.wire import run_without_suspending

if TYPE_CHECKING:
    from chuk_sessions.models import SessionRecord

pytestmark = pytest.mark.redis
METADATA: dict[str, Any] = {"role": "editor", "list": [1, 2.5, None, {"a": ["\u00e9"]}], "n": 1}


class NearInfos(Near):
    """With a session whose infos are made without a record."""

    async def begin(self, **options: Any) -> NearInfos:
        await super().begin(custom_metadata=METADATA, **options)
        return self

    async def warm(self) -> None:
        await super().warm()
        for _ in range(WORTH_IT):
            await self.manager.get_session_info(self.id)
        assert self.is_quick()

    def is_quick(self) -> bool:
        """Whether the next info is made without a record."""
        return type(run_without_suspending(cast(Any, self.manager._info(self.id)))) is Snapshot


@pytest.fixture
async def near(redis_url: str) -> NearInfos:
    return await NearInfos(redis_url).begin()


async def test_each_caller_gets_its_own(near: NearInfos) -> None:
    """Whatever it does with the info, the next one is what the server says."""
    told = await near.other.get_session_info(near.id)
    for call in (near.manager.get_session_info, near.manager.open_session) * 2:
        info = near.from_cache(lambda call=call: call(near.id))  # type: ignore[misc]
        assert same(info, told)
        info["custom_metadata"]["list"][3]["a"].append("the caller's own")
        info["custom_metadata"]["role"] = info["status"] = info["user_id"] = "the caller's own"
        del info["expires_at"]
    metadata = near.from_cache(lambda: near.manager.get_session_metadata(near.id))
    assert same(metadata, await near.other.get_session_metadata(near.id))


async def test_changes_are_seen(near: NearInfos) -> None:
    """Of this process at once, of another one when the server has told; nothing of the info before is left."""
    for change in CHANGES.values():
        for manager in (near.manager, near.other):
            near.id = await near.manager.allocate_session(user_id="alice", custom_metadata=METADATA)
            await near.warm()
            await change(manager, near.id)
            if manager is near.other:
                await eventually(lambda: not near.is_cached())
            for _ in range(WORTH_IT + 2):
                told = await near.other.get_session_info(near.id)
                assert same(await near.manager.get_session_info(near.id), told)


@pytest.mark.parametrize("idle", [None, 0.005], ids=["lifetime", "idle"])
async def test_no_deadline_is_overstayed(redis_url: str, idle: float | None) -> None:
    """It is looked at by each call."""
    options = {} if idle is None else {"idle_ttl_minutes": idle}
    near = await NearInfos(redis_url, bound=0.15, interval=0.15, **options).begin(ttl_hours=0.3 / 3600)
    while True:
        hits, asked = near.number("hits"), time.time()
        info = await near.manager.get_session_info(near.id)
        if info is None:
            break
        deadline = datetime.fromisoformat(info.get("idle_expires_at", info["expires_at"])).timestamp()
        assert asked < deadline or near.number("hits") == hits  # the server counts in milliseconds
    assert near.number("hits") > WORTH_IT


async def test_a_touch_that_is_due_goes_to_the_server(redis_url: str) -> None:
    """Its time is in the next info, with the idle deadline that follows from it."""
    near = await NearInfos(redis_url, bound=0.2, interval=0.2, idle_ttl_minutes=0.01).begin()
    for _ in range(3):
        before = await near.manager.get_session_info(near.id)
        await time_passes(0.25)
        assert await near.manager.open_session(near.id) is not None
        await near.warm()
        info = await near.manager.get_session_info(near.id)
        assert before is not None
        assert info is not None
        assert same(info, await near.other.get_session_info(near.id))
        assert all(info[name] > before[name] for name in ("last_accessed", "idle_expires_at"))


async def test_an_owner_is_asked_for(near: NearInfos) -> None:
    """That a session is another user's is what the server says."""
    assert near.from_cache(lambda: near.manager.open_session(near.id, owner="alice")) is not None
    hits = near.number("hits")
    assert await near.manager.open_session(near.id, owner="bob") is None
    assert near.number("hits") == hits


async def test_a_renewed_session(near: NearInfos) -> None:
    """By its old id the server is asked, and the info has the new one."""
    old_id, new_id = near.id, await near.manager.renew_session(near.id, 60)
    assert new_id is not None
    near.id = new_id
    await near.warm()
    for session_id in (old_id, new_id):
        for call in (near.manager.get_session_info, near.manager.open_session):
            info = await call(session_id)
            assert info is not None
            assert info["session_id"] == new_id


async def test_wrappers_and_metrics_see_each_read(redis_url: str) -> None:
    """Theirs are records. So no wrapper is passed by, and what it does with a record is in the info."""

    class Renaming(StoreWrapper):
        async def read(self, session_id: str) -> SessionRecord | None:
            record = await super().read(session_id)
            if record is not None:
                record.metadata["role"] = "its own"
            return record

    near = await NearInfos(redis_url).begin()
    for factory, options in ((stack(near.factory, Renaming), {}), (near.factory, {"metrics": SessionMetrics()})):
        layered: dict[str, Any] = {"touch_interval": 60, "near_cache": 60, **options}
        manager = SessionManager("box", factory, **layered)
        assert manager._info == manager._store.read
        for call in (manager.get_session_info, manager.open_session) * 2:
            info = near.from_cache(lambda call=call: call(near.id)) if options else await call(near.id)  # type: ignore[misc]
            assert info is not None
            assert info["custom_metadata"] == METADATA | ({} if options else {"role": "its own"})


async def test_an_unreadable_record_is_logged_once(
    near: NearInfos, redis_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """By one call or another."""
    key = near.manager._store._known_key(near.id)  # type: ignore[attr-defined]
    redis_server.command("HSET", key, "v", "9")
    await eventually(lambda: not near.is_cached())
    for _ in range(2):
        assert await near.manager.get_session_info(near.id) is None
        assert await near.manager.open_session(near.id) is None
        assert await near.manager.validate_session(near.id) is False
    assert sum("counts as absent" in record.message for record in caplog.records) == 1


async def test_another_sandbox_or_factory_is_read_from_then_on(near: NearInfos) -> None:
    """What reads is opened anew with the store."""
    near.manager.sandbox_id = "another"
    assert await near.manager.get_session_info(near.id) is None
    near.manager.sandbox_id = "box"
    assert near.from_cache(lambda: near.manager.get_session_info(near.id)) is not None
    near.manager.session_factory = memory.factory()
    assert await near.manager.get_session_info(near.id) is None
