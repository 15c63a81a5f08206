"""A login gives a session another slot tag: its values are sealed anew, and no change that comes between is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import EncryptionError, MetadataError, ProviderError, SessionTakenError, StorageError
from chuk_sessions.ids import new_session_id, renewed_id, slot_tag
from chuk_sessions.providers.redis.binding import LEAVE
from chuk_sessions.providers.redis.scripts import RENEW
from chuk_sessions.providers.redis.sealed.binding import BIND_SEALED
from chuk_sessions.redis_client.client import Client
from tests.sealed.places import by_another, keyring, manager_of, put_value, sealed_with, store_of, stored
from tests.support.meddler import Meddler

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring
    from chuk_sessions.providers.redis.sealed.store import SealedStore
    from chuk_sessions.redis_client.scripts import Script

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = pytest.mark.redis

HOUR = 3600.0
METADATA = {"cart": ["canary-7f3a"], "n": 1}
# What makes the change, by place: it takes the change only if the session is still what was read.
DECIDES = {"lone": BIND_SEALED, "cluster": LEAVE}


@pytest.fixture(params=DECIDES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def decides(place: str) -> Script:
    return DECIDES[place]


@pytest.fixture
def url(request: pytest.FixtureRequest, place: str) -> str:
    """Of each kind of place, empty."""
    found: str = request.getfixturevalue("redis_url" if place == "lone" else "cluster_url")
    return found


async def log_in(store: SealedStore, session_id: str = "visitor", grace: float = 60, **options: Any) -> str | None:
    """As ``SessionManager`` does."""
    return await store.renew(session_id, new_session_id("box", "alice", 1.0), grace, user_id="alice", **options)


async def metadata_of(url: str, session_id: str, keys: Keyring | None = None) -> dict[str, Any]:
    record = await store_of(url, keys).read(session_id)
    assert record is not None
    return record.metadata


@pytest.mark.parametrize("limit", [0, 2])
async def test_a_login(url: str, limit: int) -> None:
    """All values can be read under the new id; a change under the old id is sealed for the new one."""
    store = store_of(url)
    for _ in range(3):
        await store.create(new_session_id("box", "alice", 1.0), "alice", HOUR, {})
    await store.create("visitor", None, HOUR, METADATA)
    new_id = await log_in(store, metadata={"step": 1}, limit=limit)
    assert new_id is not None
    assert slot_tag(new_id) != slot_tag("visitor")
    assert await metadata_of(url, new_id) == METADATA | {"step": 1}
    assert len(await store.list_user("alice")) == (limit or 4)
    assert await store.update("visitor", {"step": 2}, False)
    assert await store.update("visitor", {"late": 3}, False, remove=["n"])
    assert await metadata_of(url, new_id) == {"cart": METADATA["cart"], "step": 2, "late": 3}
    assert set((await sealed_with(url, new_id)).values()) == {"k1"}
    again = await log_in(store, metadata={"again": 4})
    assert again == new_id
    assert (await sealed_with(url, new_id))["again"] == "k1"
    newest = await log_in(store, grace=0, metadata={"newest": 5})
    assert newest is not None
    assert await metadata_of(url, newest) == {
        **{"cart": METADATA["cart"], "step": 2, "late": 3},
        **{"again": 4, "newest": 5},
    }
    assert set((await sealed_with(url, newest)).values()) == {"k1"}
    assert await store.update("visitor", {}, True) is False


async def test_a_renewal_of_the_old_id(url: str) -> None:
    """It leads to the tag of the user, for which what is merged is sealed."""
    store = store_of(url)
    await store.create("visitor", None, HOUR, METADATA)
    assert await log_in(store) is not None
    newest = await store.renew("visitor", renewed_id("visitor", 1.0), 0, metadata={"step": 2})
    assert newest is not None
    assert await metadata_of(url, newest) == METADATA | {"step": 2}
    assert set((await sealed_with(url, newest)).values()) == {"k1"}


async def test_a_change_meanwhile(url: str, decides: Script) -> None:
    """Of one value, of a new one and of one that is removed, each time just before the login: all take effect."""
    keys = keyring()
    store = store_of(url, keys)
    await store.create("visitor", None, HOUR, METADATA | {"gone": 1})
    count = iter(range(9))

    async def change(other: SealedStore) -> None:
        number = next(count)
        assert await other.update("visitor", {"n": 10 + number, f"new{number}": number}, False, remove=["gone"])

    client = Meddler(url, decides, by_another(url, change, keys), times=3)
    new_id = await log_in(store_of(client, keys), metadata={"step": 1})
    assert new_id is not None
    assert next(count) == 3
    assert await metadata_of(url, new_id) == METADATA | {"n": 12, "new0": 0, "new1": 1, "new2": 2, "step": 1}


@pytest.mark.parametrize("plain", [False, True], ids=["sealed", "plain"])
async def test_a_value_that_is_written_in_another_form_meanwhile(url: str, decides: Script, plain: bool) -> None:
    """By a process of the step before, or of the next step."""
    first, second = (keyring("k1"), keyring(None)) if plain else (keyring(None), keyring("k1"))
    await store_of(url, first).create("visitor", None, HOUR, {"n": 1, "other": 1})
    change = by_another(url, lambda other: other.update("visitor", {"n": 2}, False), second)
    new_id = await log_in(store_of(Meddler(url, decides, change), first))
    assert new_id is not None
    assert await metadata_of(url, new_id) == {"n": 2, "other": 1}
    before, after = ("k1", "plain") if plain else ("plain", "k1")
    assert await sealed_with(url, new_id) == {"n": after, "other": before}


async def test_a_renewal_meanwhile(url: str, decides: Script) -> None:
    """The id that was read leads to another one by then."""
    keys = keyring()
    await store_of(url, keys).create("visitor", None, HOUR, METADATA)
    renew = by_another(url, lambda other: other.renew("visitor", renewed_id("visitor", 1.0), 60), keys)
    new_id = await log_in(store_of(Meddler(url, decides, renew), keys))
    assert new_id is not None
    assert await metadata_of(url, new_id) == METADATA


async def test_a_login_while_it_is_renewed(url: str) -> None:
    """What a renewal merges is sealed for where the session is by then."""
    keys = keyring()
    await store_of(url, keys).create("visitor", None, HOUR, METADATA)
    client = Meddler(url, RENEW, by_another(url, log_in, keys))
    new_id = await store_of(client, keys).renew("visitor", renewed_id("visitor", 1.0), 0, metadata={"step": 2})
    assert new_id is not None
    assert await metadata_of(url, new_id) == METADATA | {"step": 2}


async def test_a_session_that_ends_meanwhile(url: str, decides: Script) -> None:
    keys = keyring()
    await store_of(url, keys).create("visitor", None, HOUR, METADATA)
    client = Meddler(url, decides, by_another(url, lambda other: other.delete("visitor"), keys))
    assert await log_in(store_of(client, keys)) is None
    assert await store_of(url, keys).count() == 0


async def test_a_session_that_changes_without_end(redis_url: str) -> None:
    """The call gives up at its deadline, wherever it is by then, and has changed nothing."""
    keys, count = keyring(), iter(range(10_000))
    await store_of(redis_url, keys).create("visitor", None, HOUR, METADATA)
    change = by_another(redis_url, lambda other: other.update("visitor", {"n": next(count)}, False), keys)
    client = Meddler(f"{redis_url}?socket_timeout=0.5", BIND_SEALED, change, times=10_000)
    with pytest.raises(ProviderError):
        await log_in(store_of(client, keys))
    record = await store_of(redis_url, keys).read("visitor")
    assert record is not None
    assert (record.user_id, record.current_id) == (None, None)


async def test_values_that_cannot_be_opened(url: str) -> None:
    """The login is refused, and the session is what it was."""
    await store_of(url).create("visitor", None, HOUR, METADATA)
    await put_value(url, "visitor", "n", b"\x01" + b"x" * 40)
    before = await stored(url, "visitor")
    with pytest.raises(EncryptionError, match=r"custom_metadata\['n'\] is sealed with a key"):
        await log_in(store_of(url))
    assert await stored(url, "visitor") == before
    manager = manager_of(url, keyring())
    with pytest.raises(StorageError, match="could not renew"):
        await manager.renew_session("visitor", user_id="alice")


async def test_a_session_of_another_user(url: str) -> None:
    """It is refused as ever; nothing of it is opened."""
    await store_of(url).create("visitor", "bob", HOUR, METADATA)
    await put_value(url, "visitor", "n", b"\x01" + b"x" * 40)
    with pytest.raises(SessionTakenError):
        await log_in(store_of(url))


async def test_a_process_that_seals_nothing(url: str) -> None:
    """It seals for the new id with the key that has sealed for the old one, and leaves plain values plain."""
    await store_of(url, keyring("k2")).create("visitor", None, HOUR, METADATA)
    new_id = await log_in(store_of(url, keyring(None)), metadata={"step": 1})
    assert new_id is not None
    assert await sealed_with(url, new_id) == {"cart": "k2", "n": "k2", "step": "plain"}
    assert await metadata_of(url, new_id, keyring("k1")) == METADATA | {"step": 1}


async def test_a_process_with_another_key(url: str) -> None:
    """It seals for the new id with its own."""
    await store_of(url, keyring("k2")).create("visitor", None, HOUR, METADATA)
    new_id = await log_in(store_of(url, keyring("k1")))
    assert new_id is not None
    assert await sealed_with(url, new_id) == {"cart": "k1", "n": "k1"}


async def test_many_values(url: str) -> None:
    """More than a Lua call takes."""
    metadata = {f"k{number}": number for number in range(9000)}
    await store_of(url).create("visitor", None, HOUR, metadata)
    new_id = await log_in(store_of(url), metadata={"k1": "new"})
    assert new_id is not None
    assert await metadata_of(url, new_id) == metadata | {"k1": "new"}


async def test_more_values_than_one_command_takes(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before the server would close the connection."""
    monkeypatch.setattr("chuk_sessions.providers.redis.sealed.binding.MOST_ARGUMENTS", 100)
    await store_of(redis_url).create("visitor", None, HOUR, {f"k{number}": number for number in range(30)})
    manager = manager_of(redis_url, keyring())
    with pytest.raises(MetadataError, match="too many sealed values"):
        await manager.renew_session("visitor", user_id="alice")
    assert await manager.validate_session("visitor")


async def test_what_is_no_session(url: str) -> None:
    """Absent, unreadable or no hash at all: as without keys."""
    assert await log_in(store_of(url), "unknown") is None
    await Client(url).call(b"SET", b"session:{%b}:box:text" % slot_tag("text").encode(), b"x")
    assert await log_in(store_of(url), "text") is None
