"""SESSION_LEGACY_READ with several processes: at the exact moments between two steps, and all at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import ProviderError, SessionManager
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.legacy import document as legacy
from chuk_sessions.providers.redis.legacy.store import DELETE, LegacyReadingStore
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.adopt import ADOPT
from chuk_sessions.providers.redis.transfer.move import DROP, Move
from chuk_sessions.redis_client.client import Client
from chuk_sessions.stores.adoption import Adoption
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.places import ClusterPlace, server_or_cluster, sessions_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.redis_client.scripts import Script
    from tests.support.servers import Server

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("legacy_read")]
redis_server = server_or_cluster
OURS = session_key("box", "id")


def removal_at(server: Server) -> Script:
    """What a deletion sends to remove what it has read under the published key."""
    return DROP if isinstance(server, ClusterPlace) else DELETE


class TestTwoProcesses:
    async def test_one_import(self, redis_server: Server, open_process: Callable[[], SessionManager]) -> None:
        """Both find every session, and there is one record of each."""
        ids = [f"id-{number}" for number in range(100)]
        for session_id in ids:
            published.put(redis_server, session_id)
        one, other = open_process(), open_process()
        found = await asyncio.gather(*(each.validate_session(i) for i in ids for each in (one, other)))
        assert all(found)
        assert sessions_in(redis_server) == 100
        assert not any(published.is_there(redis_server, session_id) for session_id in ids)

    async def test_no_lost_update(self, redis_server: Server, open_process: Callable[[], SessionManager]) -> None:
        """The first update of each process takes the session over; both are there."""
        ids = [f"id-{number}" for number in range(50)]
        for session_id in ids:
            published.put(redis_server, session_id, custom_metadata={"old": 0})
        managers = [open_process() for _ in range(4)]
        updates = [
            manager.update_session_metadata(session_id, {f"by-{number}": number})
            for session_id in ids
            for number, manager in enumerate(managers)
        ]
        assert all(await asyncio.gather(*updates))
        for session_id in ids:
            info = await managers[0].get_session_info(session_id)
            assert info is not None
            assert info["custom_metadata"] == {"old": 0, **{f"by-{number}": number for number in range(4)}}

    async def test_no_revival(self, redis_server: Server, open_process: Callable[[], SessionManager]) -> None:
        """One reads while the other ends the session: whoever is first, it is ended."""
        ids = [f"id-{number}" for number in range(200)]
        for session_id in ids:
            published.put(redis_server, session_id)
        one, other = open_process(), open_process()
        calls = [
            call
            for number, session_id in enumerate(ids)
            for call in (one.validate_session(session_id), other.delete_session(session_id))[:: (-1) ** number]
        ]
        await asyncio.gather(*calls)
        assert not any(await asyncio.gather(*(one.validate_session(session_id) for session_id in ids)))
        assert not any(published.is_there(redis_server, session_id) for session_id in ids)

    async def test_a_logout_by_a_published_process(
        self, redis_server: Server, redis_url: str, open_process: Callable[[], SessionManager]
    ) -> None:
        """While two processes of ours read: what it removed is ended; what it came too late for lives on."""
        ids = [f"id-{number}" for number in range(200)]
        for session_id in ids:
            published.put(redis_server, session_id)
        one, other, writer = open_process(), open_process(), Client(redis_url)
        removed: dict[str, int] = {}

        async def log_out(session_id: str, later: int) -> None:
            for _ in range(later):  # in round trips, as the steps of the others are
                await writer.call(b"EXISTS", f"session:{session_id}")
            removed[session_id] = await writer.call(b"DEL", f"session:{session_id}")

        reads = [each.validate_session(session_id) for session_id in ids for each in (one, other)]
        await asyncio.gather(*reads, *(log_out(session_id, number % 10) for number, session_id in enumerate(ids)))
        lives = await asyncio.gather(*(one.validate_session(session_id) for session_id in ids))
        assert [not removed[session_id] for session_id in ids] == lives

    @pytest.mark.parametrize("then", ["SETEX", "DEL"])
    async def test_what_was_read_is_not_there_any_more(self, redis_server: Server, redis_url: str, then: str) -> None:
        """Between our reading and our moving it: nothing is written, and the other's change stays."""
        text = published.document("id").encode()
        found = legacy.decode(text)
        assert found is not None
        if then == "SETEX":
            published.put(redis_server, "id", custom_metadata={"role": "guest"})
        assert await Move(Client(redis_url), "id").attempt("box", found.record, text, 9000) is Adoption.CHANGED
        assert redis_server.command("EXISTS", OURS) == 0
        assert published.is_there(redis_server, "id") is (then == "SETEX")


class TestBetweenReadingAndMoving:
    """A published process writes in just that moment, once or again and again."""

    def open(self, server: Server, script: Script, times: int) -> LegacyReadingStore:
        """A store at whose every move, the first `times` times, the session has just been changed."""
        published.put(server, "id")
        count = iter(range(1000))

        def change() -> None:
            published.put(server, "id", custom_metadata={"count": next(count)})

        client = Meddler(server.url, script, change, times)
        return LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")

    @pytest.mark.parametrize("times", [1, 5])
    async def test_taking_over(self, redis_server: Server, redis_url: str, times: int) -> None:
        """The last change is what is taken over."""
        record = await self.open(redis_server, ADOPT, times).read("id")
        assert record is not None
        assert record.metadata == {"count": times - 1}
        assert not published.is_there(redis_server, "id")

    @pytest.mark.parametrize("times", [1, 5])
    async def test_deleting(self, redis_server: Server, redis_url: str, times: int) -> None:
        """What was just written is deleted too."""
        store = self.open(redis_server, removal_at(redis_server), times)
        assert await store.delete("id") is True
        assert not published.is_there(redis_server, "id")
        assert await store.read("id") is None

    async def test_without_end(self, redis_server: Server, redis_url: str) -> None:
        """An error that says so, rather than a wrong answer or a call that never returns."""
        with pytest.raises(ProviderError, match="changed 20 times"):
            await self.open(redis_server, ADOPT, 1000).touch("id", 0)
        with pytest.raises(ProviderError, match="changed 20 times"):
            await self.open(redis_server, removal_at(redis_server), 1000).delete("id")
        assert published.is_there(redis_server, "id")

    async def test_another_process_takes_it_over(self, redis_server: Server, redis_url: str) -> None:
        """Between our two looks: it is found where it is now."""
        published.put(redis_server, "id")
        other = redis.factory(redis_url).session_store("box")

        def take_over() -> None:
            with ThreadPoolExecutor(1) as pool:  # a loop of its own, as another process has
                assert pool.submit(asyncio.run, other.touch("id", 0)).result() is True

        client = Meddler(redis_url, ADOPT, take_over)
        store = LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")
        assert await store.update("id", {"new": 1}, False) is True
        record = await store.read("id")
        assert record is not None
        assert record.metadata["new"] == 1
