"""``inspect``, ``check`` and ``migrate`` with sealed values."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli import main as cli
from chuk_sessions.cli.carried import Carried
from chuk_sessions.cli.check import Level, check
from chuk_sessions.cli.migrate import REMOVE, migrate
from chuk_sessions.cli.stored import Stored, read
from chuk_sessions.encryption import key_id
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.sealed.places import KEYS, by_another, keyring, manager_of, put_value, sealed_with, stored
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.places import server_or_cluster, sessions_in

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring
    from tests.support.servers import RedisServer, Server

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = pytest.mark.redis
redis_server = server_or_cluster

METADATA: dict[str, Any] = {"role": "canary-7f3a", "big": 2**70}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> str:
    """The argument that names the key k1."""
    monkeypatch.setenv("THE_KEYS", f"k1:{base64.b64encode(KEYS['k1']).decode()}")
    return "env:THE_KEYS"


async def fill(url: str) -> None:
    """Two sandboxes: plain values and those of two keys."""
    await manager_of(url, keyring("k1")).allocate_session("one", "alice", custom_metadata={"a": 1, "b": 2})
    await manager_of(url, keyring("k2")).allocate_session("two", custom_metadata={"a": 1})
    await manager_of(url, keyring(None)).allocate_session("three", custom_metadata={"a": 1, "b": 2, "c": 3})
    await SessionManager("other", redis.factory(url)).allocate_session("four", custom_metadata={"a": 1})


def test_inspect_counts_values_by_key(redis_url: str, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name, or by its id if it is not among the keys that are given; no key is needed to count."""
    asyncio.run(fill(redis_url))
    assert cli.main(["inspect", redis_url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    k1, k2 = key_id("k1").hex(), key_id("k2").hex()
    assert found["unreadable"] == 0
    assert found["sandboxes"]["box"]["sessions"] == 3
    assert found["sandboxes"]["box"]["values"] == {"plain": 3, k1: 2, k2: 1}
    assert found["sandboxes"]["other"]["values"] == {"plain": 1}
    assert cli.main(["inspect", redis_url, "--keys", keys]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    begin = lines.index(["sandbox", "plain", *sorted([k2, "k1"])])
    in_order = ["1", "2"] if k2 < "k1" else ["2", "1"]
    assert lines[begin + 1 : begin + 3] == [["box", "3", *in_order], ["other", "1", "0", "0"]]


def test_inspect_without_sealed_values(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Says nothing about keys."""
    asyncio.run(manager_of(redis_url).allocate_session(custom_metadata={"a": 1}))
    assert cli.main(["inspect", redis_url]) == 0
    assert "sealed" not in capsys.readouterr().out


async def test_check_names_unknown_keys(redis_server: Server, redis_url: str) -> None:
    """Of the values of some sessions; nothing is said where nothing is sealed and no keys are given."""

    async def found_with(ring: Keyring | None) -> Any:
        return next((each for each in await check(Client(redis_url), ring) if each.name == "encryption"), None)

    for number in range(20):  # on each master of a cluster
        await manager_of(redis_url).allocate_session(f"plain-{number}", custom_metadata={"visits": 1})
    redis_server.command("SET", "session:text", "text")
    assert await found_with(None) is None
    assert (await found_with(keyring("k1"))).level is Level.OK
    refusing = keyring("k1", plaintext="refuse")
    assert "rotate" in (await found_with(refusing)).advice
    assert (await found_with(keyring("k1", plaintext="refuse", plain_fields=["visits"]))).level is Level.OK
    await manager_of(redis_url, keyring("k1")).allocate_session("sealed", custom_metadata={"a": 1})
    assert (await found_with(keyring("k1"))).level is Level.OK
    sealing = manager_of(redis_url, keyring("k1"))
    await sealing.delete_session("sealed")
    for number in range(8):  # alone on one master after another
        await sealing.allocate_session(f"sealed-{number}", custom_metadata={"a": 1})
        assert (await found_with(None)).level is Level.FAIL
        await sealing.delete_session(f"sealed-{number}")
    await sealing.allocate_session("sealed", custom_metadata={"a": 1})
    for ring in (None, keyring("k2", ["k2"])):
        finding = await found_with(ring)
        assert finding.level is Level.FAIL
        assert key_id("k1").hex() in finding.advice
        assert "SESSION_ENCRYPTION_KEYS" in finding.advice


def test_check_has_the_keys_of_the_application(
    redis_url: str, keys: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(manager_of(redis_url, keyring("k1")).allocate_session(custom_metadata={"a": 1}))
    for text, level in (("", "fail"), (f"k1:{base64.b64encode(KEYS['k1']).decode()}", "ok")):
        monkeypatch.setenv("SESSION_ENCRYPTION_KEYS", text)
        cli.main(["check", redis_url])
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "encryption" in line] == [level]


async def test_migrate_carries_sealed_values(redis_server: Server, redis_url: str, target: RedisServer) -> None:
    """Without a key: the same bytes are there, under the same id, and can be opened; old ids go along."""
    manager = manager_of(redis_url, keyring("k1"))
    old = await manager.allocate_session(user_id="alice", custom_metadata=METADATA)
    session_id = await manager.renew_session(old, 60)
    assert session_id is not None
    assert await manager_of(redis_url, keyring(None)).update_session_metadata(session_id, {"plain": 1})
    before = await stored(redis_url, session_id)
    counts = await migrate(Client(redis_url), Client(target.url))
    assert (counts.moved, counts.left_behind) == (1, 0)
    after = await stored(target.url, session_id)
    assert {name: after[name] for name in after if name.startswith(b"m:")} == {
        name: before[name] for name in before if name.startswith(b"m:")
    }
    info = await manager_of(target.url, keyring("k1")).get_session_info(old)
    assert info is not None
    assert info["custom_metadata"] == METADATA | {"plain": 1}
    assert sessions_in(redis_server) == 0


async def test_a_session_that_changes_while_it_is_moved(redis_url: str, target: RedisServer) -> None:
    """The copy is known again and taken back, sealed values and all."""
    await manager_of(redis_url, keyring("k1")).allocate_session("id", custom_metadata=METADATA)
    change = by_another(redis_url, lambda other: other.update("id", {"role": "new"}, True), keyring("k1"))
    counts = await migrate(Meddler(redis_url, REMOVE, change), Client(target.url))
    assert (counts.moved, counts.merged) == (1, 0)
    info = await manager_of(target.url, keyring("k1")).get_session_info("id")
    assert info is not None
    assert info["custom_metadata"] == {"role": "new"}


async def test_into_another_sandbox(redis_server: Server, redis_url: str, target: RedisServer) -> None:
    """Needs the keys: values are bound to their sandbox. Without, the session is left, in a dry run too."""
    await manager_of(redis_url, keyring("k1")).allocate_session("id", "alice", custom_metadata=METADATA)
    await manager_of(redis_url).allocate_session("plain", custom_metadata={"a": 1})
    for dry_run in (True, False):
        counts = await migrate(Client(redis_url), Client(target.url), into="shop", dry_run=dry_run)
        assert (counts.moved, counts.left_behind) == (1, 1)
        assert "--into needs --keys" in str(counts.problems[0])
    assert await manager_of(redis_url, keyring("k1")).get_session_info("id") is not None
    counts = await migrate(Client(redis_url), Client(target.url), into="shop", keyring=keyring("k2"))
    assert (counts.moved, counts.left_behind) == (1, 0)
    assert await sealed_with(target.url, "id", "shop") == dict.fromkeys(METADATA, "k2")
    shop = SessionManager("shop", redis.factory(target.url, encryption=keyring("k2")), strict=True)
    info = await shop.get_session_info("id")
    assert info is not None
    assert info["custom_metadata"] == METADATA
    assert sessions_in(redis_server) == 0


async def test_into_another_sandbox_with_a_key_that_is_missing(redis_url: str, target: RedisServer) -> None:
    await manager_of(redis_url, keyring("k1")).allocate_session("id", custom_metadata={"a": 1})
    counts = await migrate(Client(redis_url), Client(target.url), into="shop", keyring=keyring("k2", ["k2"]))
    assert (counts.moved, counts.left_behind) == (0, 1)
    assert "does not have" in str(counts.problems[0])
    assert "id " not in str(counts.problems[0]).split(":")[0].removeprefix("session ")


async def test_a_provider_of_ones_own(redis_url: str, tmp_path: Any) -> None:
    """Has no place for sealed values: they are left, with the reason."""
    from chuk_sessions.cli.targets import ProviderTarget
    from tests.support import custom_provider

    await manager_of(redis_url, keyring("k1")).allocate_session("id", custom_metadata={"a": 1})
    target = ProviderTarget(custom_provider.factory())
    for dry_run in (True, False):
        counts = await migrate(Client(redis_url), target, dry_run=dry_run)
        assert (counts.moved, counts.left_behind) == (0, 1)
        assert "only a Redis server takes them" in str(counts.problems[0])


async def test_sessions_of_earlier_versions(redis_server: Server, redis_url: str) -> None:
    """Are moved into our layout plain, for `rotate` to seal."""
    published.put(redis_server, "id", custom_metadata={"a": 1})
    assert (await migrate(Client(redis_url), Client(redis_url))).moved == 1
    assert await sealed_with(redis_url, "id") == {"a": "plain"}


def test_the_migrate_command(
    redis_url: str, target: RedisServer, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(manager_of(redis_url, keyring("k1")).allocate_session("id", custom_metadata={"a": 1}))
    command = ["migrate", "--from", redis_url, "--to", target.url, "--into", "shop"]
    assert cli.main(command) == 1
    assert "--into needs --keys" in capsys.readouterr().out
    assert cli.main([*command, "--keys", keys]) == 0
    assert asyncio.run(sealed_with(target.url, "id", "shop")) == {"a": "k1"}


async def test_what_a_command_has_in_hand(redis_url: str) -> None:
    """No text of it shows a value, sealed or not."""
    await manager_of(redis_url, keyring("k1")).allocate_session("id", custom_metadata={"a": "canary-7f3a"})
    await put_value(redis_url, "id", "b", b'"canary-7f3a"')
    found = await read(Client(redis_url), session_key("box", "id").encode(), b"hash")
    assert isinstance(found, Stored)
    assert isinstance(found.record.metadata["a"], Carried)
    assert "canary" not in repr(found)
    assert repr(found.record.metadata["a"]) == "Carried()"
