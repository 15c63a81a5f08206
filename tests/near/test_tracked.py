"""What the server remembers for a near cache: sessions that are kept, and nothing else that the connection reads."""

from __future__ import annotations

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.tracking import State
from chuk_sessions.redis_client.tracking_node import TrackingNode
from tests.near.test_manager import Near
from tests.support.helpers import eventually
from tests.support.servers import RedisServer


def tracked(server: RedisServer) -> int:
    """Keys that the server remembers for any connection."""
    return int(server.info("stats")["tracking_total_keys"])


async def test_the_server_remembers_what_is_kept_and_nothing_else(own_server: RedisServer) -> None:
    """Not the keys of scripts, of reads without the cache, of lists, of ids that exist and are only validated."""
    near = await Near(own_server.url).begin()
    assert tracked(own_server) == 1
    plain = SessionManager("box", near.factory, strict=True)  # the same connection
    ids = [await plain.allocate_session(user_id="bob", custom_metadata={"a": 1}) for _ in range(5)]
    for session_id in ids:
        assert await plain.validate_session(session_id)
        assert await plain.get_session_info(session_id) is not None
        assert await plain.open_session(session_id) is not None
        assert await plain.extend_session_ttl(session_id, 1)
        assert await plain.update_session_metadata(session_id, {"b": 2})
    assert len(await plain.list_user_sessions("bob")) == 5
    assert tracked(own_server) == 1
    assert await near.manager.get_session_info(ids[0]) is not None
    assert tracked(own_server) == 2


async def test_a_touch_of_this_process_is_not_told_to_it(own_server: RedisServer) -> None:
    """Its script reads the session and writes it: if the server tracked that, each touch would have a push."""
    near = await Near(own_server.url, interval=600).begin()
    plain = SessionManager("box", near.factory, strict=True)
    assert await plain.validate_session(near.id)  # this one is told: the session was kept
    assert not near.is_cached()
    told = own_server.info("stats")["tracking_total_items"], near.number("invalidations")
    pushes: list[object] = []
    connection = near.tracking._connection
    assert connection is not None
    connection.on_push = pushes.append
    for _ in range(5):
        assert await plain.validate_session(near.id)
    assert pushes == []
    assert (own_server.info("stats")["tracking_total_items"], near.number("invalidations")) == told


async def test_a_server_that_refused_remembers_nothing_more(own_server: RedisServer) -> None:
    """Without the right to the read that is kept, no key is kept: to remember keys would be in vain."""
    own_server.command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-hrandfield")
    near = await Near(own_server.url).begin()
    factory = redis.factory(own_server.url_for("app", "secret"))
    refused = SessionManager("box", factory, touch_interval=60, near_cache=1, strict=True)
    plain = SessionManager("box", factory, strict=True)  # the same connection

    async def is_refused() -> bool:
        assert await refused.get_session_info(near.id) is not None
        node = factory._client.deployment()
        return isinstance(node, TrackingNode) and node.tracking.state is State.REFUSED

    await eventually(is_refused)
    before = tracked(own_server)
    for _ in range(5):
        session_id = await plain.allocate_session()
        assert await plain.validate_session(session_id)
        assert await plain.get_session_info(session_id) is not None
    assert tracked(own_server) == before
