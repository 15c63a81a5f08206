"""All sessions of a sandbox, gone through and counted, on every implementation that knows its keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager, StorageError
from chuk_sessions.cli import main as cli
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.slots import slot_of
from tests.support import custom_provider
from tests.support.implementations import INDEXED

if TYPE_CHECKING:
    from chuk_sessions.provider import Factory
    from tests.support.cluster_servers import ClusterServers
    from tests.support.servers import Server


@pytest.fixture(params=INDEXED)
def store_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of everything that knows its keys."""
    made: Factory = request.param(request)
    return made


async def ids_in(manager: SessionManager, batch: int = 500) -> list[str]:
    return [info["session_id"] async for info in manager.iter_sessions(batch)]


@pytest.mark.parametrize("batch", [1, 7, 500, 10_000])
async def test_each_once(manager: SessionManager, batch: int) -> None:
    """While nothing changes, whatever the batch; with all that is known of it."""
    requests = [{"session_id": f"my:{n}/"[:-1] if n % 2 else None, "user_id": f"user-{n % 5}"} for n in range(60)]
    made = [str(each) for each in await manager.allocate_sessions(requests)]
    assert sorted(await ids_in(manager, batch)) == sorted(made)
    assert await manager.count_sessions() == 60
    async for info in manager.iter_sessions(batch):
        assert info == await manager.get_session_info(info["session_id"])


async def test_breaking_off(manager: SessionManager) -> None:
    await manager.allocate_sessions([{} for _ in range(20)])
    async for _ in manager.iter_sessions(2):
        break
    assert await manager.count_sessions() == 20


async def test_wrong_batches(manager: SessionManager) -> None:
    wrong: Any
    for wrong in (0, -1, 10_001):
        with pytest.raises(ValueError, match=r"^batch must be from 1 to 10000, got "):
            await anext(manager.iter_sessions(wrong))
    for wrong in (1.5, "1", None, True):
        with pytest.raises(TypeError, match=f"^batch must be an int, got {type(wrong).__name__}"):
            await anext(manager.iter_sessions(wrong))


async def test_a_custom_provider_cannot() -> None:
    manager = SessionManager("box", custom_provider.factory())
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await anext(manager.iter_sessions())
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.count_sessions()


@pytest.mark.redis
async def test_one_server_of_a_cluster_is_not_taken_for_all(
    calm_cluster: ClusterServers, redis_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a part of the sessions, and would count them without a word."""
    node = calm_cluster.nodes[0]
    manager = SessionManager("box", redis.factory(f"redis://{node.host}:{node.port}"))
    for call in (manager.count_sessions(), ids_in(manager)):
        with pytest.raises(StorageError, match="one of a cluster, with a part of the keys: add cluster=true"):
            await call
    for command in (["inspect"], ["migrate", "--to", redis_server.url, "--dry-run", "--from"]):
        assert await asyncio.to_thread(cli.main, [*command, f"redis://{node.host}:{node.port}"]) == 2
        assert "add cluster=true to the " in capsys.readouterr().err


@pytest.mark.redis
async def test_a_slot_that_moves_meanwhile(calm_cluster: ClusterServers, cluster_url: str) -> None:
    """From a master that was not asked yet to one that was, and back: the sessions in it come all the same."""
    manager = SessionManager("box", redis.factory(cluster_url))
    made = [str(each) for each in await manager.allocate_sessions([{} for _ in range(300)])]
    moving = slot_of(session_key("box", made[0]))
    first = calm_cluster.masters[0]
    seen: list[str] = []
    async for info in manager.iter_sessions(5):
        if len(seen) in (20, 100, 200):
            owner = await asyncio.to_thread(calm_cluster.owner_of, moving)
            target = first if owner is not first else await asyncio.to_thread(calm_cluster.another_master, moving)
            await asyncio.to_thread(calm_cluster.migrate, moving, target)
        seen.append(info["session_id"])
    assert set(seen) == set(made)
    assert len(seen) > len(made)
