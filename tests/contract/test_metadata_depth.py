"""Metadata of many levels: what is refused, what older versions stored, and calls from deep in the stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.codec import ANY_DEPTH, encode_document, encode_fields
from chuk_sessions.ids import session_key
from chuk_sessions.providers import memory
from tests.support import custom_provider
from tests.support.deep import awaited_at_depth, levels_of, nested

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Server

STORED = 978  # levels that versions before this one could store on most Pythons


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
async def test_the_deepest_that_is_stored(manager: SessionManager, kind: str) -> None:
    session_id = await manager.allocate_session(custom_metadata=nested(200, kind))
    assert await manager.update_session_metadata(session_id, {"other": 1}) is True
    assert await manager.update_session_metadata(session_id, nested(200, kind)) is True
    assert await manager.increment_session_metadata(session_id, "other") == 2
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {**json.loads(json.dumps(nested(200, kind))), "other": 2}


@pytest.mark.parametrize("levels", [201, 300, 5_000])
async def test_what_is_deeper(manager: SessionManager, levels: int) -> None:
    """Refused by every call that writes, with the beginning of the path; nothing changes."""
    refusal = r"^custom_metadata\['top'\]\[0\].*\.\.\. cannot be stored as JSON: nested deeper than 200 levels"
    with pytest.raises(MetadataError, match=refusal):
        await manager.allocate_session("new", custom_metadata=nested(levels, "list"))
    assert await manager.get_session_info("new") is None
    await manager.allocate_session("known", custom_metadata={"kept": {"a": 1}})
    before = await manager.get_session_info("known")
    for merge in (True, False):
        with pytest.raises(MetadataError, match=refusal):
            await manager.update_session_metadata("known", nested(levels, "list"), merge=merge)
    assert await manager.get_session_info("known") == before


async def test_from_deep_in_the_stack(manager: SessionManager) -> None:
    """What needs ``json`` is stored and read where that has no room to recurse, and refused in the same words."""
    metadata = {**nested(200, "list"), "odd": float("inf")}
    session_id = await awaited_at_depth(150, lambda: manager.allocate_session(custom_metadata=metadata))
    info = await awaited_at_depth(150, lambda: manager.get_session_info(session_id))
    assert info is not None
    assert info["custom_metadata"] == metadata
    deeper = {**nested(201, "list"), "odd": float("inf")}
    with pytest.raises(MetadataError, match="nested deeper than 200 levels"):
        await awaited_at_depth(150, lambda: manager.update_session_metadata(session_id, deeper))
    assert await manager.get_session_info(session_id) == info


DEEP = nested(STORED, "list")


async def check_deep_session(manager: SessionManager, make_deep: Callable[[str], Any], listed: bool = True) -> None:
    """Every call finds a session that older versions stored, from anywhere in the stack, and leaves its depth alone."""
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"top": None, "n": 1})
    other = await manager.allocate_session(user_id="alice")
    make_deep(session_id)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert levels_of({"top": info["custom_metadata"]["top"]}) == STORED
    for left in (150, 500):
        again = await awaited_at_depth(left, lambda: manager.get_session_info(session_id))
        assert again is not None
        assert levels_of({"top": again["custom_metadata"]["top"]}) == STORED
        assert await awaited_at_depth(left, lambda: manager.validate_session(session_id)) is True
        assert await awaited_at_depth(left, lambda: manager.update_session_metadata(session_id, {"a": 2})) is True
        assert await awaited_at_depth(left, lambda: manager.increment_session_metadata(session_id, "n")) is not None
    assert await manager.extend_session_ttl(session_id, 1) is True
    if listed:
        for infos in (
            await manager.list_user_sessions("alice"),
            await awaited_at_depth(150, lambda: manager.list_user_sessions("alice")),
            [each async for each in manager.iter_sessions()],
        ):
            assert {each["session_id"] for each in infos} == {session_id, other}
            deep = next(each for each in infos if each["session_id"] == session_id)
            assert levels_of({"top": deep["custom_metadata"]["top"]}) == STORED
            assert (deep["custom_metadata"]["a"], deep["custom_metadata"]["n"]) == (2, 3)
        session_id = await manager.renew_session(session_id) or ""
        assert await manager.validate_session(session_id) is True
    assert await manager.update_session_metadata(session_id, {"beside": 1}, remove=["top"]) is True
    assert await manager.update_session_metadata(session_id, {"top": 1}, remove=["beside"]) is True
    last = await manager.get_session_info(session_id)
    assert last is not None
    assert last["custom_metadata"] == {"top": 1, "a": 2, "n": 3}
    assert await manager.delete_session(session_id) is True


async def test_deep_on_redis(redis_server: Server, redis_url: str) -> None:
    from chuk_sessions.providers import redis

    text = encode_fields(DEEP, ANY_DEPTH)["top"]
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    await check_deep_session(
        manager, lambda session_id: redis_server.command("HSET", session_key("box", session_id), "m:top", text)
    )


async def test_deep_on_a_custom_provider() -> None:
    data: custom_provider.Data = {}
    text = encode_document({**DEEP, "n": 1}, ANY_DEPTH)

    def make_deep(session_id: str) -> None:
        stored, deadline = data[session_key("box", session_id)]
        data[session_key("box", session_id)] = json.dumps({**json.loads(stored), "metadata": text}), deadline

    manager = SessionManager("box", custom_provider.factory(data), strict=True)
    await check_deep_session(manager, make_deep, listed=False)


async def test_deep_in_memory() -> None:
    """Nothing can have stored it there; it is what every store must be able to hold."""
    store = memory.MemoryStore()
    text = encode_document({**DEEP, "n": 1}, ANY_DEPTH)

    def make_deep(session_id: str) -> None:
        store.sessions("box")[0].items[session_id].document = text

    await check_deep_session(SessionManager("box", memory.factory(store), strict=True), make_deep)
