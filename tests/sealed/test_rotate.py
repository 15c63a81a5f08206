"""``rotate``: every value is sealed with the first key in the end, and nothing else of a session changes."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli import main as cli
from chuk_sessions.cli.rotate import ROTATE, Rotated, rotate
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.sealed.places import KEYS, by_another, keyring, manager_of, put_value, sealed_with, stored
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.places import server_or_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Server

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = pytest.mark.redis
redis_server = server_or_cluster

METADATA: dict[str, Any] = {"role": "canary-7f3a", "cart": [1, None], "big": 2**70}
VARIABLE = "THE_KEYS"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> str:
    """The argument that names keys of which k2 seals."""
    text = ",".join(f"{name}:{base64.b64encode(KEYS[name]).decode()}" for name in ("k2", "k1"))
    monkeypatch.setenv(VARIABLE, text)
    return f"env:{VARIABLE}"


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    code = cli.main(list(arguments))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def times_of(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in found.items() if not name.startswith(b"m:")}


async def some_sessions(url: str) -> list[str]:
    """Plain, sealed with k1, sealed with k2, with an idle time, of nobody, under an id of their own, renewed."""
    idle: dict[str, Any] = {"idle_ttl_minutes": 30}
    made = [
        await manager_of(url, keys, **options).allocate_session(name, user, custom_metadata=METADATA)
        for keys in (None, keyring("k1"), keyring("k2"))
        for options in ({}, idle)
        for name, user in ((None, "alice"), (None, None), (f"own-{keys}-{bool(options)}", "alice"))
    ]
    renewed = await manager_of(url, keyring("k1")).renew_session(made[0], 60)
    assert renewed is not None
    return [renewed, *made[1:]]


async def test_everything_is_sealed_anew(redis_server: Server, redis_url: str) -> None:
    """No time and no TTL changes; a second run finds nothing to do."""
    ids = await some_sessions(redis_url)
    before = {session_id: await stored(redis_url, session_id) for session_id in ids}
    left = {each: redis_server.command("PTTL", session_key("box", each)) for each in ids}
    found = await rotate(Client(redis_url), keyring("k2"))
    assert (found.sessions, found.values) == (12, 36)
    assert found.is_complete(dry_run=False)
    for session_id in ids:
        assert await sealed_with(redis_url, session_id) == dict.fromkeys(METADATA, "k2")
        assert times_of(await stored(redis_url, session_id)) == times_of(before[session_id])
        info = await manager_of(redis_url, keyring("k2", ["k2"], "refuse")).get_session_info(session_id)
        assert info is not None
        assert info["custom_metadata"] == METADATA
    for each, earlier in left.items():
        later = int(str(redis_server.command("PTTL", session_key("box", each))))
        assert int(str(earlier)) - 60_000 < later <= int(str(earlier))
    again = await rotate(Client(redis_url), keyring("k2"))
    assert (again.values, again.is_complete(dry_run=False)) == (0, True)


async def test_a_dry_run(redis_server: Server, redis_url: str) -> None:
    """Counts the same and writes nothing."""
    ids = await some_sessions(redis_url)
    before = [await stored(redis_url, session_id) for session_id in ids]
    found = await rotate(Client(redis_url), keyring("k2"), dry_run=True)
    assert (found.sessions, found.values) == (12, 36)
    assert not found.is_complete(dry_run=True)
    assert [await stored(redis_url, session_id) for session_id in ids] == before


async def test_fields_that_are_never_sealed(redis_url: str) -> None:
    """Stay plain, and become plain where they were sealed, so that they can be counted on."""
    ids = [
        await manager_of(redis_url, keys).allocate_session(custom_metadata={"visits": 5, "count:a": 7, "role": "x"})
        for keys in (None, keyring("k1"))
    ]
    ring = keyring("k2", plain_fields=["visits", "count:*"])
    assert (await rotate(Client(redis_url), ring)).is_complete(dry_run=False)
    for session_id in ids:
        assert await sealed_with(redis_url, session_id) == {"visits": "plain", "count:a": "plain", "role": "k2"}
        assert await manager_of(redis_url, ring).increment_session_metadata(session_id, "visits") == 6


async def test_only_some_sandboxes(redis_url: str) -> None:
    for box in ("one", "two"):
        await SessionManager(box, redis.factory(redis_url)).allocate_session("id", custom_metadata={"a": 1})
    assert (await rotate(Client(redis_url), keyring("k1"), sandboxes=["two"])).sessions == 1
    assert await sealed_with(redis_url, "id", "one") == {"a": "plain"}
    assert await sealed_with(redis_url, "id", "two") == {"a": "k1"}


def changing(url: str, field: str) -> Callable[[], None]:
    """As a process of the step before changes that field."""
    return by_another(url, lambda other: other.update("id", {field: "meanwhile"}, False), keyring(None))


@pytest.mark.parametrize("field", ["role", "other"])
async def test_an_update_meanwhile(redis_server: Server, redis_url: str, field: str) -> None:
    """Just before a value is written: it is not lost, and sealed in the end."""
    await manager_of(redis_url, keyring("k1")).allocate_session("id", custom_metadata=METADATA)
    found = await rotate(Meddler(redis_url, ROTATE, changing(redis_url, field)), keyring("k2"))
    assert found.is_complete(dry_run=False)
    assert found.sessions == 1 + (field == "other")  # by the second walk
    assert await sealed_with(redis_url, "id") == dict.fromkeys({*METADATA, field}, "k2")
    info = await manager_of(redis_url, keyring()).get_session_info("id")
    assert info is not None
    assert info["custom_metadata"] == METADATA | {field: "meanwhile"}


async def test_a_session_that_ends_meanwhile(redis_server: Server, redis_url: str) -> None:
    """It does not come back."""
    await manager_of(redis_url).allocate_session("id", custom_metadata=METADATA)
    key = session_key("box", "id")
    client = Meddler(redis_url, ROTATE, lambda: redis_server.command("DEL", key))
    found = await rotate(client, keyring("k2"))
    assert (found.values, found.is_complete(dry_run=False)) == (0, True)
    assert redis_server.command("EXISTS", key) == 0


async def test_a_session_that_becomes_another_kind_of_key(redis_server: Server, redis_url: str) -> None:
    await manager_of(redis_url).allocate_session("id", custom_metadata=METADATA)
    key = session_key("box", "id")

    def replace() -> None:
        redis_server.command("SET", key, "text")

    found = await rotate(Meddler(redis_url, ROTATE, replace), keyring("k2"))
    assert found.is_complete(dry_run=False)
    assert redis_server.command("GET", key) == "text"


async def test_a_writer_that_never_stops(redis_url: str) -> None:
    """A process of the step before: the run ends, and says that something is left."""
    await manager_of(redis_url).allocate_session("id", custom_metadata=METADATA)
    count = iter(range(100))

    def progress(counts: Rotated) -> None:
        changing(redis_url, f"n{next(count)}")()

    found = await rotate(Client(redis_url), keyring("k2"), progress=progress)
    assert found.unfinished
    assert not found.is_complete(dry_run=False)
    assert "other processes still write" in found.report(dry_run=False, show_ids=False)


async def test_values_that_cannot_be_opened(redis_server: Server, redis_url: str) -> None:
    """Are left and reported; the other values of the session are sealed anew."""
    await manager_of(redis_url).allocate_session("id", custom_metadata={"a": 1, "b": 2})
    await manager_of(redis_url).allocate_session("other", custom_metadata={"a": 1})
    await put_value(redis_url, "id", "a", b"\x01" + b"x" * 40)
    found = await rotate(Client(redis_url), keyring("k2"))
    assert (found.left, found.sessions) == (1, 2)
    assert not found.is_complete(dry_run=False)
    report = found.report(dry_run=False, show_ids=False)
    assert "custom_metadata['a'] is sealed with a key that this process does not have" in report
    assert "session:" not in report
    assert session_key("box", "id") in found.report(dry_run=False, show_ids=True)
    assert (await stored(redis_url, "id"))[b"m:b"].startswith(b"\x01")


async def test_what_is_no_session_of_ours(redis_server: Server, redis_url: str) -> None:
    """Sessions of 0.2 to 0.6 are counted as left; records of a later version too; other keys are nothing."""
    published.put(redis_server, "old-id")
    redis_server.command("SET", "session:text", "text")
    redis_server.command("LPUSH", "session:list", "text")
    redis_server.command("SET", session_key("box", "text"), "text")
    redis_server.command("HSET", session_key("box", "later"), "v", "9", "m:a", "1")
    found = await rotate(Client(redis_url), keyring("k2"))
    assert (found.legacy, found.left, found.values) == (1, 1, 0)
    assert not found.is_complete(dry_run=False)
    assert "migrate" in found.report(dry_run=False, show_ids=False)
    assert (await rotate(Client(redis_url), keyring("k2"), sandboxes=["other"])).is_complete(dry_run=False)


async def test_keys_that_seal_nothing(redis_url: str) -> None:
    with pytest.raises(ValueError, match="a key that seals"):
        await rotate(Client(redis_url), keyring(None))


async def test_more_values_than_one_script_writes(redis_url: str) -> None:
    metadata = {f"k{number}": number for number in range(1200)}
    await manager_of(redis_url).allocate_session("id", custom_metadata=metadata)
    assert (await rotate(Client(redis_url), keyring("k2"))).values == 1200
    info = await manager_of(redis_url, keyring()).get_session_info("id")
    assert info is not None
    assert info["custom_metadata"] == metadata


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.faults)])
async def test_beside_writers(redis_url: str, seconds: float) -> None:
    """Updates, counts, renewals and logins go on all the while: no update is lost, and all is sealed in the end."""
    old, new = (keyring(name, plain_fields=["visits"]) for name in ("k1", "k2"))
    managers = [manager_of(f"{redis_url}?client_name={n}", ring) for n, ring in enumerate((old, new, new))]
    ids = [await managers[0].allocate_session(custom_metadata={"start": n}) for n in range(30)]
    wanted: list[dict[str, Any]] = [{"start": n} for n in range(30)]
    client, end = Client(f"{redis_url}?client_name=rotate"), time.monotonic() + seconds
    stopped = False

    async def write(number: int) -> None:
        step = 0
        while not stopped or step < 10:
            manager, session_id = managers[step % 3], ids[number]
            if step % 7 == 3:
                user_id = "alice" if step > 10 else None
                ids[number] = await manager.renew_session(session_id, user_id=user_id) or ""
            elif step % 7 == 5:
                assert await manager.increment_session_metadata(session_id, "visits") is not None
                wanted[number]["visits"] = wanted[number].get("visits", 0) + 1
            else:
                assert await manager.update_session_metadata(session_id, {f"n{step % 5}": step})
                wanted[number][f"n{step % 5}"] = step
            step += 1

    async def seal() -> None:
        nonlocal stopped
        try:
            for _ in range(5):
                await rotate(client, new, batch=10)
            while time.monotonic() < end:
                await rotate(client, new, batch=10)
        finally:
            stopped = True

    await asyncio.gather(seal(), *(write(number) for number in range(30)))
    assert (await rotate(Client(redis_url), new)).is_complete(dry_run=False)
    alone = manager_of(redis_url, keyring("k2", ["k2"], "refuse", ["visits"]))
    for session_id, metadata in zip(ids, wanted, strict=True):
        info = await alone.get_session_info(session_id)
        assert info is not None
        assert info["custom_metadata"] == metadata


def test_the_command(redis_url: str, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1 while something is to do, 0 when it is done; the report counts."""
    ids = asyncio.run(some_sessions(redis_url))
    code, shown, _ = run_cli(capsys, "rotate", redis_url, "--keys", keys, "--dry-run")
    assert (code, shown) == (1, "to seal anew: 36 values of 12 sessions\n")
    code, shown, _ = run_cli(capsys, "rotate", redis_url, "--keys", keys, "--plain-field", "big")
    assert (code, shown.split("\n")[0]) == (0, "sealed anew: 36 values of 18 sessions")
    assert asyncio.run(sealed_with(redis_url, ids[0])) == {"role": "k2", "cart": "k2", "big": "plain"}
    assert run_cli(capsys, "rotate", redis_url, "--keys", keys, "--plain-field", "big", "--dry-run")[0] == 0


def test_plain_fields_of_the_environment(
    redis_url: str, keys: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_ENCRYPTION_PLAIN_FIELDS", "big")
    session_id = asyncio.run(manager_of(redis_url).allocate_session(custom_metadata=METADATA))
    assert run_cli(capsys, "rotate", redis_url, "--keys", keys)[0] == 0
    assert asyncio.run(sealed_with(redis_url, session_id)) == {"role": "k2", "cart": "k2", "big": "plain"}


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (base64.b64encode(KEYS["k1"]).decode(), "must name a variable"),
        (f"env:k1:{base64.b64encode(KEYS['k1']).decode()}", "must name a variable"),
        ("env:NO_SUCH", "the variable NO_SUCH is not set"),
        ("env:BAD", "BAD: item 1 must be name:key"),
    ],
    ids=["the key", "the keys", "not set", "no keys"],
)
def test_what_names_no_keys(
    redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argument: str, words: str
) -> None:
    """One line, without a part of a key; nothing is done."""
    monkeypatch.setenv("BAD", base64.b64encode(KEYS["k1"]).decode())
    code, shown, errors = run_cli(capsys, "rotate", redis_url, "--keys", argument)
    assert (code, shown) == (2, "")
    assert words in errors
    assert base64.b64encode(KEYS["k1"]).decode()[:8] not in errors


async def test_an_interrupted_run(redis_url: str) -> None:
    """What is done stays done, and the next run does the rest."""
    for number in range(60):
        await manager_of(redis_url).allocate_session(f"id-{number}", custom_metadata={"a": 1})
    found = await rotate(Client(redis_url), keyring("k2"), batch=5, stop=lambda: True)
    assert 0 < found.values < 60
    rest = await rotate(Client(redis_url), keyring("k2"))
    assert found.values + rest.values == 60
    assert rest.is_complete(dry_run=False)
