"""What somebody with a copy gets: no value of metadata is in the files of a loaded server, nor in what it tells.

The same load without keys leaves its words in all of them but the log, so that they would be found.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import migrate
from chuk_sessions.cli.rotate import rotate
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.sealed.places import keyring
from tests.support.monitor import Monitor
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = [pytest.mark.redis, pytest.mark.slow]

SESSIONS = 60
CANARY = "canary"
SETTINGS = (
    *("appendonly yes", "appendfsync always", "rdbcompression no", "aof-use-rdb-preamble no"),
    *("slowlog-log-slower-than 0", "slowlog-max-len 100000", "loglevel verbose"),
)


def metadata(number: int) -> dict[str, Any]:
    """Short and long values with canaries: in texts, lists and dicts, as a key within a value, and beyond JSON."""
    word = f"{CANARY}-{number}"
    return {"a": word, "b": [word, {word: word}], "c": word * 100, "d": {"n": float("inf"), "word": word}}


async def load(url: str, keys: Keyring | None) -> None:
    """Every call that writes, many at a time, with ids and users as an application has them."""
    manager = SessionManager("box", redis.factory(url, encryption=keys), strict=True, max_sessions_per_user=5)

    async def one(number: int) -> None:
        rng = random.Random(number)
        session_id = await manager.allocate_session(None, None, None, metadata(number))
        for step in range(6):
            assert await manager.update_session_metadata(session_id, metadata(number + step), rng.random() < 0.8)
        assert await manager.update_session_metadata(session_id, {"e": CANARY}, remove=["a"])
        renewed = await manager.renew_session(session_id, 60, custom_metadata={"f": CANARY})
        assert renewed is not None
        owned = await manager.renew_session(
            renewed, 60, user_id=f"user-{number % 20}", custom_metadata={"g": f"{CANARY}-login"}
        )
        assert owned is not None
        assert await manager.update_session_metadata(session_id, {"h": CANARY})
        await manager.open_session(owned)
        await manager.get_session_info(owned)

    await asyncio.gather(*(one(number) for number in range(SESSIONS)))
    await manager.allocate_session("chosen", "alice", custom_metadata=metadata(1))


async def told_by(server: RedisServer, keys: Keyring | None, target: RedisServer) -> dict[str, bytes]:
    """All that the server has and says of that load, and of a rotation and a migration after it."""
    with Monitor(server) as monitor:
        await load(server.url, keys)
        if keys is not None:
            assert (await rotate(Client(server.url), keyring("k2"))).values > SESSIONS
        server.command("SAVE")
        slow = server.command("SLOWLOG", "GET", "100000")
        found = {
            "RDB": _files(server, ".rdb"),
            "AOF": _files(server, ".aof"),
            "log": server.log.encode(),
            "SLOWLOG": repr(slow).encode(),
        }
        if keys is not None:
            assert (await migrate(Client(server.url), Client(target.url))).moved > 0
        return found | {"MONITOR": b"".join(_lines(monitor, server))}


def _files(server: RedisServer, suffix: str) -> bytes:
    """The contents of its files of that kind."""
    return b"".join(path.read_bytes() for path in server.folder.rglob(f"*{suffix}") if path.is_file())


def _lines(monitor: Monitor, server: RedisServer) -> list[bytes]:
    server.command("ECHO", "the end of what is heard")
    lines: list[bytes] = []
    while not lines or b"the end of what is heard" not in lines[-1]:
        lines.append(monitor._stream.readline())
    return lines


async def test_no_value_is_in_a_copy(caplog: pytest.LogCaptureFixture) -> None:
    """Nor in a log of ours. Users, names of fields and ids are, as the documentation says."""
    caplog.set_level(logging.DEBUG)
    with RedisServer(*SETTINGS) as server, RedisServer(*SETTINGS) as target:
        found = await told_by(server, keyring("k1"), target)
        target.command("SAVE")
        found["the target"] = _files(target, "")
    assert {name: CANARY.encode() in data for name, data in found.items()} == dict.fromkeys(found, False)
    assert CANARY not in caplog.text
    for name in ("RDB", "AOF", "MONITOR", "the target"):
        assert b"user-1" in found[name]
        assert b"m:a" in found[name]
    assert min(map(len, (found["RDB"], found["AOF"], found["MONITOR"], found["SLOWLOG"]))) > 10_000


async def test_without_keys_they_are_found_everywhere() -> None:
    """The test above looks in the right places."""
    with RedisServer(*SETTINGS) as server:
        found = await told_by(server, None, server)
    for name in ("RDB", "AOF", "MONITOR", "SLOWLOG"):
        assert CANARY.encode() in found[name], name
