"""Masters of a cluster whose clocks differ: a session that is used does not end early."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis import store as store_module
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.server_clock import moment
from tests.support.cluster_servers import ClusterServers, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.redis
IDLE, INTERVAL = 60, 10  # seconds
AHEAD = """
local function skewed()
  local clock = redis.call('TIME')
  if string.find(redis.call('INFO', 'server'), 'tcp_port:%d\\r') then clock[1] = clock[1] + 1 end
  return clock
end
"""


@pytest.fixture
def ids(calm_cluster: ClusterServers, cluster_url: str) -> Sequence[str]:
    """Of sessions on different masters."""
    found: dict[int, str] = {}
    for number in range(100):
        session_id = f"id-{number}"
        found.setdefault(calm_cluster.owner_of(slot_of(session_key("box", session_id))).port, session_id)
    return list(found.values())


@pytest.mark.parametrize("call", ["validate_session", "open_session"])
@pytest.mark.parametrize("learned_at", ["the other master", "its own master"])
async def test_a_session_on_a_master_whose_clock_is_ahead(
    calm_cluster: ClusterServers,
    cluster_url: str,
    ids: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    learned_at: str,
) -> None:
    """It would end before its idle time has passed, if the clock of another master were taken for its master's."""
    here, there = ids[:2]
    owner = calm_cluster.owner_of(slot_of(session_key("box", there)))
    for name in ("TOUCH", "OPEN"):
        source = getattr(store_module, name)._script._source.decode().replace("redis.call('TIME')", "skewed()")
        monkeypatch.setattr(store_module, name, BatchScript(AHEAD.replace("%d", str(owner.port)) + source))
    manager = SessionManager(
        "box", redis.factory(cluster_url), strict=True, touch_interval=INTERVAL, idle_ttl_minutes=IDLE / 60
    )
    for session_id in (here, there):
        await manager.allocate_session(session_id)
        assert await manager.validate_session(session_id)
    store: Any = manager._store
    told = store._client.deployment().clock_of(session_key("box", there)).now()
    assert told is not None
    assert told > time.time() + 0.5
    client = Client(cluster_url)
    last = here if learned_at == "the other master" else there
    await client.call(b"HSET", session_key("box", last), b"accessed", round((time.time() - 30) * 1_000_000))
    assert await manager.validate_session(last)  # by a script
    now = time.time() + 1  # there
    key = session_key("box", there)
    accessed, expires = (round(moment * 1_000_000) for moment in (now - INTERVAL / 2, now + IDLE - 0.5))
    await client.call(b"HSET", key, b"accessed", accessed, b"expires", expires)
    assert await getattr(manager, call)(there)
    assert int(await client.call(b"HGET", key, b"expires")) >= (now + IDLE) * 1_000_000


async def test_a_master_that_is_not_known_has_no_clock(cluster_url: str) -> None:
    """The time of a server that answered for such a slot is not taken for the time of others."""
    deployment = Client(cluster_url).deployment()  # it has not asked for the slots yet
    deployment.clock_of("a").learn(time.time(), moment())
    assert deployment.clock_of("b").now() is None


async def test_the_clock_is_that_of_the_server_behind_the_connection(redis_url: str) -> None:
    """After a failover another one is there: its clock is not known until it tells."""
    client = Client(redis_url)
    store, node = RedisSessionStore(client, "box"), cast(Node, client.deployment())
    await store.create("id", None, 3600, {})
    assert await store.touch("id", INTERVAL)
    assert node.clock_of("id").now() is not None
    assert node._connection is not None
    node._connection.abort("a failover")
    assert await store.read("id")
    assert node.clock_of("id").now() is None
    assert await store.touch("id", INTERVAL)
    assert node.clock_of("id").now() is not None
