"""Sessions with sealed metadata: what stands on the server, and what becomes of a value that cannot be opened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import EncryptionError, MetadataError, SessionManager, StorageError
from chuk_sessions.encryption import Keyring
from chuk_sessions.ids import renewed_id, session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.record import VERSION
from tests.sealed.places import keyring, manager_of, put_value, sealed_with, store_of, stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.servers import Server

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = pytest.mark.redis

CANARY = "canary-7f3a"
METADATA: dict[str, Any] = {"role": CANARY, "cart": [CANARY, {"n": 1}], "big": 2**70, "empty": {}, "none": None}


@pytest.fixture(params=["lone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Of each kind of place, empty."""
    found: str = request.getfixturevalue("redis_url" if request.param == "lone" else "cluster_url")
    return found


async def test_what_stands_on_the_server(url: str) -> None:
    """No value of metadata; names of fields, user and times, as ever. All reading calls give the metadata."""
    manager = manager_of(url, keyring())
    session_id = await manager.allocate_session(user_id="alice", custom_metadata=METADATA)
    assert await sealed_with(url, session_id) == dict.fromkeys(METADATA, "k1")
    found = await stored(url, session_id)
    assert (found[b"v"], found[b"user"]) == (VERSION, b"alice")
    assert CANARY.encode() not in b"".join(found.values())
    infos = [
        await manager.get_session_info(session_id),
        await manager.open_session(session_id, owner="alice"),
        *await manager.list_user_sessions("alice"),
        *[info async for info in manager.iter_sessions()],
        *[info async for info in manager.iter_user_sessions("alice")],
    ]
    assert [info and info["custom_metadata"] for info in infos] == [METADATA] * 5
    assert await manager.validate_session(session_id)


async def test_an_update_seals_only_its_own_fields(url: str) -> None:
    """Values of the others stay as they are, to the byte; two updates at the same time both take effect."""
    manager = manager_of(url, keyring())
    session_id = await manager.allocate_session(custom_metadata={"a": 1, "b": 2, "c": 3})
    before = await stored(url, session_id)
    assert await manager.update_session_metadata(session_id, {"a": CANARY}, remove=["c"])
    after = await stored(url, session_id)
    assert after[b"m:b"] == before[b"m:b"]
    assert b"m:c" not in after
    some = [manager.update_session_metadata(session_id, {f"n{n}": n}) for n in range(20)]
    assert all(await asyncio.gather(*some))
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": CANARY, "b": 2, **{f"n{n}": n for n in range(20)}}
    assert await manager.update_session_metadata(session_id, {"only": CANARY}, merge=False)
    assert await sealed_with(url, session_id) == {"only": "k1"}


async def test_fields_that_are_never_sealed(url: str) -> None:
    """Only these can be counted on; the error for the others says what to do, and nothing was changed."""
    manager = manager_of(url, keyring(plain_fields=["visits", "count:*"]))
    session_id = await manager.allocate_session(custom_metadata={"visits": 1, "count:a": 5, "visits2": 1})
    assert await manager.increment_session_metadata(session_id, "visits") == 2
    assert await manager.increment_session_metadata(session_id, "count:a", -5) == 0
    assert await manager.increment_session_metadata(session_id, "count:") == 1
    for field in ("visits2", "other", "count"):
        with pytest.raises(MetadataError, match=rf"'{field}'\] is sealed .* plain_fields .* nothing was changed"):
            await manager.increment_session_metadata(session_id, field)
    with pytest.raises(MetadataError, match="plain_fields"):
        await manager.increment_session_metadata("unknown", "other")
    assert await sealed_with(url, session_id) == {
        **{"visits": "plain", "count:a": "plain", "count:": "plain"},
        "visits2": "k1",
    }


async def test_the_first_step_counts_as_the_others(url: str) -> None:
    """So that a field which must be named is found before anything is sealed."""
    manager = manager_of(url, keyring(None))
    session_id = await manager.allocate_session(custom_metadata={"n": 1})
    with pytest.raises(MetadataError, match="plain_fields"):
        await manager.increment_session_metadata(session_id, "n")
    assert await sealed_with(url, session_id) == {"n": "plain"}


async def test_a_renewal_keeps_the_values(url: str) -> None:
    """They are bound to the slot tag, which stays; with a grace the old id finds them too."""
    manager = manager_of(url, keyring())
    for owner in ("alice", None):
        session_id = await manager.allocate_session(user_id=owner, custom_metadata=METADATA)
        before = await stored(url, session_id)
        new_id = await manager.renew_session(session_id, 60, custom_metadata={"step": 2})
        assert new_id is not None
        assert (await stored(url, new_id))[b"m:role"] == before[b"m:role"]
        newest = await manager.renew_session(new_id)
        assert newest is not None
        info = await manager.get_session_info(newest)
        assert info is not None
        assert info["custom_metadata"] == METADATA | {"step": 2}
        assert set((await sealed_with(url, newest)).values()) == {"k1"}
        assert await manager.get_session_info(session_id) is None


async def test_a_chosen_id(url: str) -> None:
    """Its tag is a hash of the id, and its user's index elsewhere."""
    manager = manager_of(url, keyring())
    await manager.allocate_session("chosen", "alice", custom_metadata=METADATA)
    new_id = await manager.renew_session("chosen", custom_metadata={"step": 2})
    assert new_id is not None
    info = await manager.get_session_info(new_id)
    assert info is not None
    assert info["custom_metadata"] == METADATA | {"step": 2}


async def test_an_alias_that_is_allocated(url: str) -> None:
    """Finds the session that it leads to."""
    manager = manager_of(url, keyring())
    session_id = await manager.allocate_session("chosen", "alice", custom_metadata=METADATA)
    await manager.renew_session(session_id, 60)
    assert await manager.allocate_session("chosen", "alice", custom_metadata={"other": 1}) == "chosen"
    info = await manager.get_session_info("chosen")
    assert info is not None
    assert info["custom_metadata"] == METADATA


MOVED: dict[str, tuple[str, str, str]] = {
    "to another field": ("one", "box", "b"),
    "to another sandbox": ("one", "other", "a"),
    "to another slot tag": ("two", "box", "a"),
}


@pytest.mark.parametrize("case", MOVED)
async def test_a_value_that_was_moved(redis_url: str, case: str) -> None:
    """By somebody who may write to the server: it cannot be opened there."""
    session_id, sandbox_id, field = MOVED[case]
    ring = keyring()
    for box in ("box", "other"):
        for each in ("one", "two"):
            manager = SessionManager(box, redis.factory(redis_url, encryption=ring))
            await manager.allocate_session(each, custom_metadata={"a": f"{box} {each}"})
    value = (await stored(redis_url, "one"))[b"m:a"]
    await put_value(redis_url, session_id, field, value, sandbox_id)
    manager = SessionManager(sandbox_id, redis.factory(redis_url, encryption=ring), strict=True)
    with pytest.raises(StorageError, match=rf"custom_metadata\['{field}'\] was changed or moved"):
        await manager.get_session_info(session_id)


READING: dict[str, Callable[[SessionManager, str], Awaitable[Any]]] = {
    "info": lambda m, s: m.get_session_info(s),
    "metadata": lambda m, s: m.get_session_metadata(s),
    "open": lambda m, s: m.open_session(s),
    "list": lambda m, s: m.list_user_sessions("alice"),
}
NOT_READING: dict[str, Callable[[SessionManager, str], Awaitable[Any]]] = {
    "validate": lambda m, s: m.validate_session(s),
    "update": lambda m, s: m.update_session_metadata(s, {"b": 1}),
    "extend": lambda m, s: m.extend_session_ttl(s, 1),
    "renew": lambda m, s: m.renew_session(s),
    "delete": lambda m, s: m.delete_session(s),
    "delete all": lambda m, s: m.delete_user_sessions("alice"),
}
UNOPENED: dict[str, tuple[Keyring | None, bytes | None, str]] = {
    "a key that is missing": (keyring("k2", ["k2"]), None, "does not have"),
    "a value that was changed": (keyring(), b"\x01" + b"x" * 40, "does not have"),
    "a value that was cut": (keyring(), b"\x01", "changed or moved"),
    "a plain value that is refused": (keyring(plaintext="refuse"), b'"x"', "is not sealed"),
    "no keys": (None, None, "this process has no keys"),
}


@pytest.mark.parametrize("case", UNOPENED)
async def test_what_cannot_be_opened_is_not_absent(
    redis_url: str, redis_server: Server, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """A strict manager raises, another one logs it as any failure of the storage; the session stays as it is.

    Calls that need no metadata go on.
    """
    ring, value, words = UNOPENED[case]
    session_id = await manager_of(redis_url, keyring()).allocate_session(
        user_id="alice", custom_metadata={"a": CANARY, "n": 1}
    )
    if value is not None:
        await put_value(redis_url, session_id, "a", value)
    before = await stored(redis_url, session_id)
    for call in READING.values():
        with pytest.raises(StorageError, match=words) as caught:
            await call(manager_of(redis_url, ring), session_id)
        assert isinstance(caught.value.__cause__, EncryptionError)
        assert CANARY not in str(caught.value)
        assert session_id not in str(caught.value)
    lenient = SessionManager("box", redis.factory(redis_url, encryption=ring))
    assert await lenient.get_session_info(session_id) is None
    assert [words in line.getMessage() for line in caplog.records if line.name.startswith("chuk")] == [True]
    assert "counts as absent" not in caplog.text
    for name, call in NOT_READING.items():
        assert await call(manager_of(redis_url, ring), session_id), name
        redis_server.flush()
        session_id = await manager_of(redis_url, keyring()).allocate_session(
            user_id="alice", custom_metadata={"a": CANARY, "n": 1}
        )
    assert before[b"m:n"] != b"1"


async def test_plain_values_are_read_until_they_are_refused(redis_url: str) -> None:
    """Fields that are never sealed are not refused."""
    session_id = await manager_of(redis_url).allocate_session(custom_metadata={"a": 1, "visits": 2})
    info = await manager_of(redis_url, keyring()).get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": 1, "visits": 2}
    refusing = manager_of(redis_url, keyring(plaintext="refuse", plain_fields=["visits"]))
    with pytest.raises(StorageError, match=r"\['a'\] is not sealed"):
        await refusing.get_session_info(session_id)
    assert await manager_of(redis_url, keyring()).update_session_metadata(session_id, {"a": 1})
    assert await refusing.get_session_info(session_id) == await manager_of(redis_url, keyring()).get_session_info(
        session_id
    )


async def test_a_field_that_became_plain(redis_url: str) -> None:
    """It is opened as before; it cannot be counted on until it was written anew, as `rotate` does."""
    session_id = await manager_of(redis_url, keyring()).allocate_session(custom_metadata={"visits": 2})
    manager = manager_of(redis_url, keyring(plain_fields=["visits"]))
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"visits": 2}
    with pytest.raises(MetadataError, match="is no integer"):
        await manager.increment_session_metadata(session_id, "visits")


async def test_metadata_that_cannot_be_stored(redis_url: str) -> None:
    """Is refused as ever, before anything is sealed."""
    manager = manager_of(redis_url, keyring())
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    with pytest.raises(MetadataError, match=r"\['a'\] cannot be stored as JSON"):
        await manager.update_session_metadata(session_id, {"a": object()})
    with pytest.raises(MetadataError, match="cannot be stored"):
        await manager.renew_session(session_id, custom_metadata={"a": object()})


@pytest.mark.parametrize("protocol", [2, 3])
async def test_either_protocol(redis_url: str, protocol: int) -> None:
    manager = manager_of(f"{redis_url}?protocol={protocol}", keyring())
    session_id = await manager.allocate_session(user_id="alice", custom_metadata=METADATA)
    for info in (await manager.get_session_info(session_id), await manager.open_session(session_id)):
        assert info is not None
        assert info["custom_metadata"] == METADATA


async def test_keys_of_the_environment(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory takes them when it is made; a keyring that is given wins."""
    monkeypatch.setenv("SESSION_ENCRYPTION_KEYS", f"k2:{'QUJD' * 10}QUI=")
    manager = SessionManager("box", redis.factory(redis_url))
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    assert await sealed_with(redis_url, session_id) == {"a": "k2"}
    session_id = await manager_of(redis_url, keyring()).allocate_session(custom_metadata={"a": 1})
    assert await sealed_with(redis_url, session_id) == {"a": "k1"}


def test_what_is_no_keyring() -> None:
    with pytest.raises(TypeError, match="must be a Keyring, got dict"):
        redis.factory("redis://localhost", encryption={"k1": bytes(32)})  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [None, keyring()], ids=["no keys", "keys"])
async def test_a_record_of_a_later_version(redis_server: Server, redis_url: str, keys: Keyring | None) -> None:
    """Is absent as ever, whatever its values are."""
    redis_server.command("HSET", session_key("box", "id"), "v", "9", "m:a", "\x01 of another form")
    manager = manager_of(redis_url, keys)
    assert await manager.get_session_info("id") is None
    assert await manager.open_session("id") is None


async def test_a_store_of_its_own_renews_within_a_tag(redis_url: str) -> None:
    """As the contract asks of who renews: the new id has the form of the old one."""
    store = store_of(redis_url)
    await store.create("id", None, 60, {"a": 1})
    new_id = renewed_id("id", 1.0)
    assert await store.renew("id", new_id, 0, metadata={"b": 2}) == new_id
    record = await store.read(new_id)
    assert record is not None
    assert record.metadata == {"a": 1, "b": 2}
