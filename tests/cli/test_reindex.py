"""``reindex``: what an index has lost is put back, exactly as it was, and nothing else changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli import main as cli
from chuk_sessions.cli.reindex import reindex
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.scripts import MOVE
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.places import server_or_cluster, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster


@pytest.fixture
def make(redis_url: str) -> Callable[..., SessionManager]:
    def manager_of(sandbox_id: str = "box", **options: Any) -> SessionManager:
        return SessionManager(sandbox_id, redis.factory(redis_url), strict=True, **options)

    return manager_of


def entries(server: Server) -> dict[str, set[str]]:
    """All that the indexes hold."""
    nodes = getattr(server, "nodes", [server])
    return {key: set(texts(node, "ZRANGE", key, "0", "-1")) for node in nodes for key in texts(node, "KEYS", "user:*")}


def drop_indexes(server: Server) -> None:
    for key in entries(server):
        server.command("DEL", key)


async def test_all_come_back(redis_server: Server, redis_url: str, make: Callable[..., SessionManager]) -> None:
    """Whatever became of them before: ids of one's own, new ids, other deadlines, an idle time, an alias."""
    manager, idle, other = make(), make(idle_ttl_minutes=30), make("other")
    ids = [await manager.allocate_session(user_id="alice") for _ in range(3)]
    ids.append(await manager.allocate_session("chosen", "alice"))
    renewed = await manager.renew_session(ids.pop(0), 60)
    assert renewed is not None
    again = await manager.renew_session(await manager.allocate_session("mine", "alice"))
    assert again is not None
    ids += [renewed, again, await idle.allocate_session(user_id="alice"), await idle.allocate_session("quiet", "alice")]
    for session_id in ids:
        await manager.extend_session_ttl(session_id, 100)
    nobody = await manager.allocate_session()
    elsewhere = await other.allocate_session(user_id="alice")
    before = entries(redis_server)
    listed = await manager.list_user_sessions("alice")
    assert {info["session_id"] for info in listed} == set(ids)

    drop_indexes(redis_server)
    assert await manager.list_user_sessions("alice") == []
    assert (await reindex(Client(redis_url))).missing == len(ids) + 1
    assert entries(redis_server) == before
    assert await manager.list_user_sessions("alice") == listed
    assert await manager.delete_user_sessions("alice") == len(ids)
    assert await manager.validate_session(nobody) is True
    assert await other.delete_user_sessions("alice") == 1
    assert await other.validate_session(elsewhere) is False


async def test_nothing_is_missing(redis_server: Server, redis_url: str, make: Callable[..., SessionManager]) -> None:
    """Then nothing is written."""
    for user_id in ("alice", "bob", None):
        await make().allocate_session(user_id=user_id)
    before = entries(redis_server)
    assert (await reindex(Client(redis_url))).missing == 0
    assert entries(redis_server) == before


async def test_what_is_no_session_of_ours(
    redis_server: Server, redis_url: str, make: Callable[..., SessionManager]
) -> None:
    """Is passed over, and left as it is."""
    published.put(redis_server, "old")
    redis_server.command("SET", session_key("box", "text"), "text")
    redis_server.command("HSET", session_key("box", "strange"), "v", "9", "user", "alice")
    redis_server.command("HSET", session_key("box", "half"), "v", "1", "user", "alice", "created", "1")
    session_id = await make().allocate_session(user_id="alice")
    drop_indexes(redis_server)
    assert (await reindex(Client(redis_url))).missing == 1
    assert [info["session_id"] for info in await make().list_user_sessions("alice")] == [session_id]


async def test_one_that_ends_meanwhile(
    redis_server: Server, redis_url: str, make: Callable[..., SessionManager]
) -> None:
    """Leaves no entry behind."""
    session_id = await make().allocate_session(user_id="alice")
    drop_indexes(redis_server)
    key = session_key("box", session_id)
    await reindex(Meddler(redis_url, MOVE, lambda: redis_server.command("DEL", key)))
    assert entries(redis_server) == {}


def test_the_command(
    redis_server: Server, redis_url: str, make: Callable[..., SessionManager], capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run counts, and says by its exit code that something is left to do; a run does it; a sandbox narrows it."""

    async def prepare() -> None:
        for sandbox_id in ("box", "other"):
            await make(sandbox_id).allocate_session(user_id="alice")

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(["reindex", redis_url, *arguments])
        return code, capsys.readouterr().out.strip()

    asyncio.run(prepare())
    drop_indexes(redis_server)
    assert run("--dry-run") == (1, "2 entries would be put back, of 2 sessions")
    assert entries(redis_server) == {}
    assert run("--sandbox", "box") == (0, "1 entries were put back, of 1 sessions")
    assert run("--dry-run", "--sandbox", "box") == (0, "0 entries would be put back, of 1 sessions")
    assert run() == (0, "1 entries were put back, of 2 sessions")
    assert run("--dry-run") == (0, "0 entries would be put back, of 2 sessions")
