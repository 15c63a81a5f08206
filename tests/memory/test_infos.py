"""Info dicts without a record between: the same as those of the records, on the memory store itself only."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.infos import Infos
from chuk_sessions.providers.memory.locked_store import LockedSessionStore
from chuk_sessions.providers.memory.store import MemorySessionStore
from chuk_sessions.stores.wrapper import StoreWrapper, reads_of
from tests.support.helpers import Clock

METADATA = {"role": "admin", "deep": [1, {"a": None}]}


@pytest.fixture
def clock() -> Clock:
    """Of expiry and of the wall."""
    return Clock(1_769_860_800.25)


@pytest.fixture
def store(clock: Clock) -> MemorySessionStore:
    return MemorySessionStore(memory.MemoryStore(clock=clock, wall_clock=clock), "box")


@pytest.mark.parametrize("idle", [0, 60])
@pytest.mark.parametrize("metadata", [{}, METADATA, {"ratio": float("inf")}], ids=["none", "some", "written by json"])
async def test_they_equal_those_of_the_records(
    store: MemorySessionStore, clock: Clock, idle: float, metadata: dict[str, Any]
) -> None:
    """As it was created, once it was touched, and under an id that it had before."""
    infos = Infos(store)
    await store.create("id", "alice", 3600, metadata, idle=idle)
    for session_id in ("id", "id", "new", "id"):
        record, session = await store.read(session_id), await infos.read(session_id)
        assert record is not None
        assert session is not None
        assert session.info(session_id, "box") == record.info(session_id, "box")
        clock.now += 7.5
        record = await store.open(session_id, 0, "alice")
        session = await infos.open(session_id, 0, "alice")
        assert record is not None
        assert session is not None
        assert session.info(session_id, "box") == record.info(session_id, "box")
        assert session.info(session_id, "box")["last_accessed"] != session.info(session_id, "box")["created_at"]
        if session_id == "id":
            await store.renew("id", "new", 600)


async def test_open_touches_as_the_store_does(store: MemorySessionStore, clock: Clock) -> None:
    """Not before the interval is over, and no session of another user; an idle time begins anew."""
    infos = Infos(store)
    await store.create("id", "alice", 3600, {}, idle=60)
    created = clock.now
    clock.now += 50
    assert await infos.open("id", 10, "bob") is None
    session = await infos.open("id", 51, None)
    assert session is not None
    assert session.accessed == created
    assert await infos.open("id", 50, "alice") is session
    assert session.accessed == clock.now
    clock.now += 59
    assert await infos.read("id") is session
    clock.now += 51  # 60 after the last call that touched
    assert await infos.read("id") is await infos.open("id", 0, None) is None


async def test_a_dict_is_the_callers_own() -> None:
    """To change it changes no session."""
    manager = SessionManager(session_factory=memory.factory(memory.MemoryStore()))
    session_id = await manager.allocate_session(user_id="alice", custom_metadata=METADATA)
    for read in (manager.get_session_info, manager.open_session):
        info = await read(session_id)
        assert info is not None
        info["custom_metadata"]["deep"].append(2)
        info["user_id"] = "bob"
        again = await read(session_id)
        assert again is not None
        assert again["custom_metadata"] == METADATA
        assert again["user_id"] == "alice"


def test_who_reads_in_another_way_is_asked(store: MemorySessionStore) -> None:
    """A subclass, as for a Python without a GIL, and a wrapper may do more than the store."""

    class Audited(MemorySessionStore):
        pass

    values = memory.MemoryStore()
    others: list[Any] = [Audited(values, "box"), StoreWrapper(store), LockedSessionStore(values, "box")]
    assert [reads_of(other) for other in others] == others
    assert isinstance(reads_of(store), Infos)
