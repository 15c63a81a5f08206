"""Every key that a script touches is among those that it was called with, and there, as a cluster needs it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import migrate
from chuk_sessions.cli.rotate import rotate
from chuk_sessions.encryption import Keyring
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.redis.test_acl import use_everything, use_legacy_read
from tests.redis.test_lua_files import uses
from tests.support import published
from tests.support.monitor import Monitor, Run
from tests.support.places import server_or_cluster

if TYPE_CHECKING:
    from tests.support.servers import RedisServer, Server

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
redis_server = server_or_cluster

# What runs only where the legacy key is in another slot than ours, or a user's index in another than the session, and
# only where it is not.
APART = {"legacy_text", "legacy_end", "transfer_take", "transfer_undo", "transfer_drop"}
APART |= {"bind_put", "bind_leave", "bind_settle"}
TOGETHER = {"legacy_peek", "legacy_delete", "bind", "bind_sealed"}


@pytest.fixture
def where(redis_server: Server) -> Server:
    """A server or a cluster, empty."""
    redis_server.flush()
    return redis_server


async def use_what_is_left(url: str, where: Server, target: Server) -> None:
    """Names that changed, and sessions that move."""
    manager = SessionManager("box", redis.factory(url), strict=True)
    await manager.allocate_session("a", "alice")
    new_id = await manager.renew_session("a", grace_seconds=60)
    assert new_id is not None
    assert await manager.delete_session(new_id)
    assert await manager.allocate_session("a", "alice") == "a"
    await manager.allocate_session("nobodys")
    assert await manager.renew_session("nobodys", user_id="alice", custom_metadata={"a": 1})
    sealing = SessionManager("box", redis.factory(url, encryption=Keyring({"k": bytes(32)}, write="k")), strict=True)
    visitor = await sealing.allocate_session(custom_metadata={"a": 1})
    sealed = await sealing.renew_session(visitor, user_id="alice", custom_metadata={"b": 1})
    assert sealed is not None
    await rotate(Client(url), Keyring({"k": bytes(32), "new": bytes(31) + b"1"}, write="new"))
    assert await sealing.delete_session(sealed)
    published.put(where, "b")
    await manager.renew_session(await manager.allocate_session(), grace_seconds=60)
    await migrate(Client(url), Client(url), sandboxes=["box"], into="shop")
    assert (await migrate(Client(url), Client(target.url))).moved > 1


@pytest.mark.usefixtures("legacy_read")
async def test_a_script_touches_no_key_that_it_was_not_given(
    where: Server, target: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the server says of each command of each script, all of which run."""
    with ExitStack() as stack:
        servers = getattr(where, "nodes", [where])
        monitors = [stack.enter_context(Monitor(server)) for server in servers]
        monkeypatch.delenv("SESSION_LEGACY_READ")
        await use_everything(where.url, where)
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        await use_legacy_read(where.url, where)
        await use_what_is_left(where.url, where, target)
        runs = [run for monitor in monitors for run in monitor.runs() if run.commands]
    assert len(runs) > 50
    for run in runs:
        assert touched(servers[0], run) <= run.keys, run
        assert not touched_when_gone(run), run
    seen = {run.sha for run in runs}
    unseen = {file for file, script in uses() if script.sha.decode() not in seen}
    assert unseen == (APART if len(servers) == 1 else TOGETHER)


REMOVING = ("UNLINK", "ZREM", "ZREMRANGEBYSCORE", "HDEL")
FILLING = ("ZADD", "HSET", "HINCRBY")


def touched_when_gone(run: Run) -> list[str]:
    """The first command on a key that may have been removed by one before it; none if there is none.

    In a slot that is on its way a script breaks off there, half done. It runs only if all its keys exist, so that a
    renewal, whose new key does not, does not run in such a slot.
    """
    gone, filled = set[str](), set[str]()
    for words in run.commands:
        command = words[0].upper()
        if gone.intersection(words[1:2] if command != "UNLINK" else words[1:]):
            return words
        if command == "UNLINK":
            gone.update(words[1:])
        elif command in REMOVING and words[1] not in filled:
            gone.add(words[1])
        elif command in FILLING:
            filled.add(words[1])
    return []


def touched(server: Server, run: Run) -> set[str]:
    """The keys in the commands of a script, as the server tells them from other arguments."""
    commands = [("COMMAND", "GETKEYS", *words) for words in run.commands if words[0] != "TIME"]
    replies = server.commands(*commands) if commands else []
    return {str(key) for keys in replies if isinstance(keys, list) for key in keys}
