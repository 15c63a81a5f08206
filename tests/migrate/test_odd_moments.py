"""Moving and taking over where something is odd: a lock that ran out, a key that comes twice, documents of nonsense."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.cli.migrate import REMOVE, migrate
from chuk_sessions.cli.stored import session_keys
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.providers.redis.keys import MIGRATE_LOCK
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.migrations import OURS, manager_of, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions import SessionManager
    from tests.support.servers import RedisServer, Server

pytestmark = pytest.mark.redis


async def test_a_run_that_stood_still_ends_nothing_that_the_next_one_has_moved(
    redis_server: Server, redis_url: str, second_server: RedisServer
) -> None:
    """Its lock has run out meanwhile: that the session is gone at the source need not be a logout."""
    second_server.flush()
    await manager_of(redis_url).allocate_session("id", "alice")

    def next_run() -> None:
        redis_server.command("SET", MIGRATE_LOCK.decode(), "another", "PX", "60000")
        redis_server.command("DEL", OURS)

    with pytest.raises(ProviderError, match="stood still"):
        await migrate(Meddler(redis_url, REMOVE, next_run), Client(second_server.url))
    assert second_server.command("EXISTS", OURS) == 1
    redis_server.command("DEL", MIGRATE_LOCK.decode())


async def test_a_key_that_a_scan_gives_twice_is_moved_once(
    redis_url: str, second_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_server.flush()
    await manager_of(redis_url).allocate_session("id", "alice")

    async def twice(source: Client, batch: int) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        async for keys in session_keys(source, batch):
            yield keys * 2

    monkeypatch.setattr("chuk_sessions.cli.migrate.session_keys", twice)
    await run(redis_url, second_server.url)
    assert second_server.command("EXISTS", OURS) == 1


async def test_a_status_that_cannot_be_stored_stops_neither_callers_nor_the_move(
    redis_server: Server, redis_url: str, open_process: Callable[[], SessionManager]
) -> None:
    """It is reported and left where it is; the others move."""
    published.put(redis_server, "id", status="\ud800")
    published.put(redis_server, "good")
    assert await open_process().validate_session("id") is False
    await run(redis_url, redis_url)
    assert published.is_there(redis_server, "id")
    assert not published.is_there(redis_server, "good")


async def test_a_document_that_ended_long_ago_is_no_session(
    redis_server: Server, redis_url: str, open_process: Callable[[], SessionManager]
) -> None:
    published.put(redis_server, "id", expires_at="1970-01-01T00:00:00Z")
    assert await open_process().validate_session("id") is False
