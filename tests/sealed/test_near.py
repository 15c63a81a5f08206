"""A near cache of sealed sessions: it answers with opened values, and what cannot be opened is never kept."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from chuk_sessions import NotSupportedError, SessionManager, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.near import NearSessionStore
from chuk_sessions.providers.redis.snapshot import WORTH_IT, Snapshot
from tests.near.test_manager import Near
from tests.sealed.places import keyring, manager_of, put_value, sealed_with
from tests.support.helpers import eventually
from tests.support.wire import run_without_suspending

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = pytest.mark.redis

METADATA: dict[str, Any] = {"role": "canary-7f3a", "big": 2**70, "visits": 1}


class NearSealed(Near):
    """With keys, and another process' manager with the same."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.factory = redis.factory(f"{url}?client_name=near-sealed", encryption=keyring(plain_fields=["visits"]))
        self.manager = SessionManager("box", self.factory, touch_interval=60, near_cache=60, strict=True)
        self.other = manager_of(f"{url}?client_name=other", keyring(plain_fields=["visits"]))


@pytest.fixture
async def near(redis_url: str) -> NearSealed:
    found = NearSealed(redis_url)
    found.id = await found.manager.allocate_session(user_id="alice", custom_metadata=METADATA)
    await found.warm()
    return found


async def test_it_answers_with_opened_values(near: NearSealed, redis_url: str) -> None:
    """On the server they are sealed."""
    assert await sealed_with(redis_url, near.id) == {"role": "k1", "big": "k1", "visits": "plain"}
    for call in (near.manager.get_session_info, near.manager.open_session):
        assert near.from_cache(lambda call=call: call(near.id))["custom_metadata"] == METADATA  # type: ignore[misc]
    assert near.from_cache(lambda: near.manager.validate_session(near.id)) is True


async def test_a_change_is_seen(near: NearSealed) -> None:
    """Of its own at once, of another process as soon as the server tells."""
    assert await near.manager.update_session_metadata(near.id, {"role": "own"})
    info = await near.manager.get_session_info(near.id)
    assert info is not None
    assert info["custom_metadata"]["role"] == "own"
    await near.warm()
    assert await near.other.update_session_metadata(near.id, {"role": "other"})

    async def is_seen() -> bool:
        info = await near.manager.get_session_info(near.id)
        return info is not None and info["custom_metadata"]["role"] == "other"

    await eventually(is_seen)
    assert await near.manager.increment_session_metadata(near.id, "visits") == 2
    new_id = await near.manager.renew_session(near.id)
    assert new_id is not None
    info = await near.manager.get_session_info(new_id)
    assert info is not None
    assert info["custom_metadata"] == METADATA | {"role": "other", "visits": 2}


async def test_a_login(near: NearSealed) -> None:
    """It seals the values anew."""
    visitor = await near.manager.allocate_session(custom_metadata=METADATA)
    assert await near.manager.get_session_info(visitor) is not None
    new_id = await near.manager.renew_session(visitor, user_id="alice")
    assert new_id is not None
    info = await near.manager.get_session_info(new_id)
    assert info is not None
    assert info["custom_metadata"] == METADATA


@pytest.mark.parametrize("with_keys", [True, False], ids=["another key", "no keys"])
async def test_what_cannot_be_opened_is_not_kept(redis_url: str, with_keys: bool) -> None:
    """Each call that reads it is an error, from the server; a validation goes on."""
    session_id = await manager_of(redis_url, keyring("k1")).allocate_session(custom_metadata=METADATA)
    factory = redis.factory(
        f"{redis_url}?client_name=near-unopened", encryption=keyring("k2", ["k2"]) if with_keys else None
    )
    manager = SessionManager("box", factory, touch_interval=60, near_cache=60, strict=True)
    for _ in range(3):
        with pytest.raises(StorageError, match=r"(does not have|has no keys)"):
            await manager.get_session_info(session_id)
        assert await manager.validate_session(session_id)
        await asyncio.sleep(0)
    assert factory.stats()["near_hits"] == 0


@pytest.mark.parametrize(
    "other",
    [None, keyring("k2", ["k2"]), keyring("k1", plaintext="refuse")],
    ids=["no keys", "another key", "refuses plain values"],
)
async def test_keys_of_one_manager_open_nothing_for_another(near: NearSealed, redis_url: str, other: Any) -> None:
    """They share the connection, so that each finds what the other has kept; the answer is still the server's own."""
    options: dict[str, Any] = {"touch_interval": 60, "strict": True}
    factory = redis.factory(f"{redis_url}?client_name=near-sealed", encryption=other)
    assert factory._client is near.factory._client
    plain, second = SessionManager("box", factory, **options), SessionManager("box", factory, near_cache=60, **options)
    for _ in range(2):
        await near.warm()
        assert near.from_cache(lambda: near.manager.get_session_info(near.id))["custom_metadata"] == METADATA
        for call in ("get_session_info", "get_session_metadata", "open_session"):
            with pytest.raises(StorageError) as told:
                await getattr(plain, call)(near.id)
            with pytest.raises(StorageError) as found:
                await getattr(second, call)(near.id)
            assert str(found.value) == str(told.value)
        assert await second.validate_session(near.id) is True


async def test_infos_made_of_opened_values(near: NearSealed, redis_url: str) -> None:
    """For the manager with these keys, and for no other one: neither with other keys nor without."""
    near.id = await near.manager.allocate_session(user_id="alice", custom_metadata={"role": "canary-7f3a", "visits": 1})
    await near.warm()
    for _ in range(WORTH_IT):
        info = near.from_cache(lambda: near.manager.get_session_info(near.id))
    assert type(run_without_suspending(cast(Any, near.manager._info(near.id)))) is Snapshot
    for call in (near.manager.get_session_info, near.manager.open_session):
        assert near.from_cache(lambda call=call: call(near.id)) == info  # type: ignore[misc]
    for keys in (None, keyring("k2", ["k2"])):
        factory = redis.factory(f"{redis_url}?client_name=near-sealed", encryption=keys)
        other = SessionManager("box", factory, touch_interval=60, near_cache=60, strict=True)
        for call in (other.get_session_info, other.open_session):
            with pytest.raises(StorageError):
                await call(near.id)


async def test_a_manager_with_keys_takes_nothing_from_one_without(redis_url: str) -> None:
    """It refuses plain values, also those that another manager has kept."""
    url = f"{redis_url}?client_name=near-plain"
    first, second = (
        SessionManager("box", redis.factory(url, encryption=keys), touch_interval=60, near_cache=60, strict=True)
        for keys in (None, keyring("k1", plaintext="refuse"))
    )
    session_id = await first.allocate_session(custom_metadata=METADATA)
    while not redis.factory(url).stats()["near_hits"]:
        assert await first.get_session_info(session_id) is not None
    with pytest.raises(StorageError, match="refuses plain values"):
        await second.get_session_info(session_id)
    assert await first.get_session_info(session_id) is not None


async def test_a_value_that_was_changed_on_the_server(near: NearSealed, redis_url: str) -> None:
    await put_value(redis_url, near.id, "role", b"\x01" + b"x" * 40)

    async def is_noticed() -> bool:
        try:
            await near.manager.get_session_info(near.id)
        except StorageError:
            return True
        return False

    await eventually(is_noticed)


def test_a_cluster_refuses_it_as_ever(cluster_url: str) -> None:
    factory = redis.factory(cluster_url, encryption=keyring())
    with pytest.raises(NotSupportedError, match="Cluster"):
        SessionManager("box", factory, touch_interval=60, near_cache=1)
    assert NearSessionStore in type(redis.factory("redis://h", encryption=keyring()).near_session_store("b", 1)).__mro__
