"""``migrate`` and sandboxes: no session is put where no manager looks, and ``into`` mends what was; a logout holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chuk_sessions.cli.migrate import migrate
from chuk_sessions.ids import session_key
from chuk_sessions.providers.redis.keys import tombstone_key
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.migrations import METADATA, OURS, info_of, manager_of, run, settled
from tests.support.places import server_or_cluster, session_keys_in

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster
RANDOM = "sandbox-1a2b3c4d"


@pytest.fixture(params=["in place", "across"])
def to(request: pytest.FixtureRequest, redis_url: str, target: Server) -> str:
    """Where sessions go: the same database or another."""
    return redis_url if request.param == "in place" else target.url


@pytest.mark.parametrize("sandbox_id", [RANDOM, "a/b", "..", ""])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_one_that_no_manager_has(
    redis_server: Server, redis_url: str, to: str, sandbox_id: str, dry_run: bool
) -> None:
    """Left in place, with what to do; then that is done, and the session is found."""
    published.put(redis_server, "id", sandbox_id)
    counts = await migrate(Client(redis_url), Client(to), dry_run=dry_run)
    assert settled(counts) == {"left_behind": 1}
    assert "--into" in str(counts.problems[0])
    assert published.is_there(redis_server, "id")
    assert (await run(redis_url, to, into="shop"))["moved"] == 1
    assert await manager_of(to, "shop").validate_session("id") is True


async def test_a_random_one_that_is_named(redis_server: Server, redis_url: str, to: str) -> None:
    """Then it is meant: some application has it. One that cannot be used is none, whoever names it."""
    published.put(redis_server, "id-one", RANDOM)
    published.put(redis_server, "id-two", "a/b")
    counts = await migrate(Client(redis_url), Client(to), sandboxes=[RANDOM, "a/b"])
    assert settled(counts) == {"moved": 1, "left_behind": 1}
    assert await manager_of(to, RANDOM).validate_session("id-one") is True


@pytest.mark.parametrize("sandbox_id", [RANDOM, "a/b", ""])
async def test_our_layout_to_another_sandbox(redis_server: Server, redis_url: str, sandbox_id: str) -> None:
    """In place too, for the sandboxes that are named: fields and lifetime as they were, nothing left behind."""
    key, other = session_key(sandbox_id.replace("/", "%2F"), "id"), session_key("other", "id-two")
    await manager_of(redis_url).allocate_session("id", "alice", 2, METADATA)
    await manager_of(redis_url, "other").allocate_session("id-two", "bob")
    before = await info_of(redis_url, "id")
    assert redis_server.command("RENAME", OURS, key) == "OK"
    counts = await migrate(Client(redis_url), Client(redis_url), sandboxes=[sandbox_id], into="shop")
    assert (counts.moved, counts.left_behind) == (1, 0)
    after = await info_of(redis_url, "id", "shop")
    assert {**after, "sandbox_id": 0, "expires_at": 0} == {**before, "sandbox_id": 0, "expires_at": 0}
    assert 7_100_000 < int(str(redis_server.command("PTTL", session_key("shop", "id")))) <= 7_200_001
    assert redis_server.command("EXISTS", key) == 0
    assert redis_server.command("EXISTS", other) == 1
    assert session_keys_in(redis_server) == 2


async def test_a_live_session_of_ours_that_is_noted_as_ended(redis_server: Server, redis_url: str) -> None:
    """As by a renewal that was interrupted: the note keeps old copies out, and is no reason to end what lives."""
    await manager_of(redis_url).allocate_session("id", "alice")
    redis_server.command("SET", tombstone_key(OURS), "4000000000000000")
    counts = await migrate(Client(redis_url), Client(redis_url), sandboxes=["box"], into="shop")
    assert (counts.moved, counts.ended) == (1, 0)
    assert await manager_of(redis_url, "shop").validate_session("id") is True


async def test_our_layout_stays_unless_it_is_named(redis_server: Server, redis_url: str) -> None:
    """What has a sandbox already that some application uses is not to be swept into another by the way."""
    await manager_of(redis_url).allocate_session("id", "alice")
    assert await run(redis_url, redis_url, into="shop") == {"seen": 1, "here": 1}
    assert redis_server.command("EXISTS", OURS) == 1


async def test_a_dry_run_counts_per_sandbox(redis_server: Server, redis_url: str, to: str) -> None:
    for number in range(5):
        published.put(redis_server, f"id-{number}", f"box-{number % 2}")
    counts = await migrate(Client(redis_url), Client(to), dry_run=True)
    assert counts.to_move == {"box-0": 3, "box-1": 2}


@pytest.mark.parametrize("ended_in", ["box", "shop"])
@pytest.mark.parametrize("ended_at", ["source", "target"])
async def test_a_logout_that_a_cache_undid(
    redis_server: Server, redis_url: str, to: str, target: Server, ended_in: str, ended_at: str
) -> None:
    """It holds in the new sandbox too, whichever of the two it was ended in, and at which server."""
    published.put(redis_server, "id")
    tombstone = tombstone_key(session_key(ended_in, "id"))
    server = redis_server if ended_at == "source" or to == redis_url else target
    server.command("SET", tombstone, "4000000000000000")
    assert settled(await migrate(Client(redis_url), Client(to), into="shop")) == {"ended": 1}
    assert not published.is_there(redis_server, "id")
    assert await manager_of(to, "shop").validate_session("id") is False
