"""The ACL line of the README is enough for every call of the session lifecycle, on a lone server and on a cluster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from tests.readme_blocks import README
from tests.test_lifecycle_processes import ON_SERVERS

if TYPE_CHECKING:
    from tests.cluster_servers import ClusterServers
    from tests.servers import Server

pytestmark = pytest.mark.redis
FOR_CLUSTER = ("+cluster|slots", "+cluster|nodes")


def rules() -> list[str]:
    """What the README's line gives the user `app`."""
    match = re.search(r"^ *user app (.*)$", README.read_text(), flags=re.MULTILINE)
    assert match is not None
    return match.group(1).split()


async def use_everything(url: str) -> None:
    manager = SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=2)
    coarse = SessionManager("box", redis.factory(url), strict=True, touch_interval=60)
    for chosen in (None, "my-id", None, "my-other-id"):
        session_id = await manager.allocate_session(chosen, "alice", 1, {"a": 1})
        assert await manager.validate_session(session_id)
        assert await coarse.validate_session(session_id)
        assert await manager.update_session_metadata(session_id, {"b": 1}, merge=False)
        assert await manager.increment_session_metadata(session_id, "b") == 2
        assert await manager.extend_session_ttl(session_id, 1)
        new_id = await manager.renew_session(session_id, 60)
        assert new_id is not None
        assert await coarse.validate_session(session_id)
        assert await manager.get_session_info(session_id)
    assert len(await manager.list_user_sessions("alice")) == 2
    assert await manager.count_sessions() == 2
    assert len([info async for info in manager.iter_sessions()]) == 2
    assert await manager.delete_session(session_id)  # by its alias
    assert await manager.delete_user_sessions("alice") == 1


@pytest.mark.parametrize("url_name", ON_SERVERS)
async def test_every_call_with_the_rights_of_the_readme(url_name: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(url_name)
    if url_name == "redis_url":
        server: Server = request.getfixturevalue("redis_server")
        nodes, login = [server], url.replace("redis://", "redis://app:password@")
    else:
        cluster: ClusterServers = request.getfixturevalue("calm_cluster")
        nodes, login = list(cluster.nodes), cluster.url_for("app", "password")
    for node in nodes:
        node.command("ACL", "SETUSER", "app", *rules(), *(FOR_CLUSTER if len(nodes) > 1 else ()))
    try:
        await use_everything(login)
    finally:
        for node in nodes:
            node.command("ACL", "DELUSER", "app")
