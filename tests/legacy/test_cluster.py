"""Taking over and deleting in a cluster, where it takes several steps: what happens at the moments between them."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.cli.migrate import migrate
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.keys import takeover_key, tombstone_key
from chuk_sessions.providers.redis.legacy import document as legacy
from chuk_sessions.providers.redis.legacy.store import END, LegacyReadingStore
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.adopt import ADOPT
from chuk_sessions.providers.redis.transfer.crossing import UNDO
from chuk_sessions.providers.redis.transfer.move import DROP, TAKE, Move
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.slots import slot_of
from chuk_sessions.stores.adoption import Adoption
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.migrations import settled
from tests.support.places import ClusterPlace, sessions_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chuk_sessions.redis_client.scripts import Script
    from chuk_sessions.stores.contract import SessionStore
    from tests.support.cluster_servers import ClusterServers

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("legacy_read")]
OURS = session_key("box", "id")
LATER = "2100-01-01T00:00:00.000000Z"


@pytest.fixture
def place(calm_cluster: ClusterServers, cluster_url: str) -> ClusterPlace:
    """A cluster with one published session, whose key is in another slot than ours."""
    place = ClusterPlace(calm_cluster)
    published.put(place, "id")
    assert slot_of("session:id") != slot_of(OURS)
    return place


def other_process(url: str, act: Callable[[SessionStore], Awaitable[Any]]) -> Any:
    """What another process of ours does meanwhile, with a loop and connections of its own."""

    async def run() -> Any:
        return await act(redis.factory(url).session_store("box"))

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def write_back(place: ClusterPlace, text: str, **changed: Any) -> None:
    """What a published process does that has the session in its cache."""
    place.command("SETEX", "session:id", "5000", json.dumps({**json.loads(text), **changed}))


def store_at(place: ClusterPlace, script: Script, meddle: Callable[[], object], times: int = 1) -> LegacyReadingStore:
    """A store at whose every ``script``, the first ``times`` times, something has just happened."""
    client = Meddler(place.url, script, meddle, times)
    return LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")


def in_turn(*acts: Callable[[], object]) -> Callable[[], object]:
    """The first of them at the first call, and so on."""
    todo = iter(acts)
    return lambda: next(todo)()


class TestTakingOver:
    """Between putting it under our key and removing the original, unless something else is said."""

    async def test_ended_by_a_published_process(self, place: ClusterPlace) -> None:
        """It is ended: what was put is removed again."""
        store = store_at(place, TAKE, lambda: place.command("DEL", "session:id"))
        assert await store.touch("id", 0) is False
        assert place.command("DBSIZE") == 0

    async def test_changed(self, place: ClusterPlace) -> None:
        """The session is what it was changed to, and has nothing of what it was before."""
        text = str(place.command("GET", "session:id"))
        store = store_at(place, TAKE, lambda: write_back(place, text, custom_metadata={"new": 1}))
        record = await store.read("id")
        assert record is not None
        assert record.metadata == {"new": 1}
        assert sessions_in(place) == 1

    async def test_changed_and_used(self, place: ClusterPlace) -> None:
        """Another process of ours used what was put: both changes count."""

        text = str(place.command("GET", "session:id"))

        def change() -> None:
            assert other_process(place.url, lambda store: store.update("id", {"ours": 1}, False))
            write_back(place, text, custom_metadata={"theirs": 1})

        record = await store_at(place, TAKE, change).read("id")
        assert record is not None
        assert record.metadata.items() >= {"ours": 1, "theirs": 1}.items()
        assert sessions_in(place) == 1

    async def test_changed_and_used_and_ended(self, place: ClusterPlace) -> None:
        """What was used is removed as well, once there is no original any more."""

        text = str(place.command("GET", "session:id"))

        def change() -> None:
            assert other_process(place.url, lambda store: store.update("id", {"ours": 1}, False))
            write_back(place, text, custom_metadata={"theirs": 1})

        store = store_at(place, TAKE, in_turn(change, lambda: place.command("DEL", "session:id")), 2)
        assert await store.touch("id", 0) is False
        assert place.command("DBSIZE") == 0

    @pytest.mark.parametrize("used", [True, False])
    async def test_another_session_in_its_place(self, place: ClusterPlace, used: bool) -> None:
        """The first one was ended: nothing of it is left in the second one, which is another user's."""

        def change() -> None:
            if used:
                assert other_process(place.url, lambda store: store.update("id", {"ours": 1}, False))
            published.put(place, "id", user_id="bob", created_at=LATER, last_accessed=LATER, expires_at=None)

        record = await store_at(place, TAKE, change).read("id")
        assert record is not None
        assert record.user_id == "bob"
        assert "ours" not in record.metadata
        assert sessions_in(place) == 1

    @pytest.mark.parametrize("used", [True, False])
    async def test_a_session_of_another_sandbox_in_its_place(self, place: ClusterPlace, used: bool) -> None:
        """It is left alone, and the first one is ended."""

        def change() -> None:
            if used:
                assert other_process(place.url, lambda store: store.update("id", {"ours": 1}, False))
            published.put(place, "id", "other")

        assert await store_at(place, TAKE, change).read("id") is None
        assert published.is_there(place, "id")
        assert place.command("EXISTS", OURS) == 0

    async def test_another_process_was_quicker(self, place: ClusterPlace) -> None:
        """The original is gone, but not because the session was ended."""
        text = str(place.command("GET", "session:id"))
        store = store_at(place, TAKE, lambda: take_over(place, text))
        assert await store.update("id", {"new": 1}, False) is True
        assert sessions_in(place) == 1

    async def test_another_process_was_quicker_and_a_cache_wrote_it_back(self, place: ClusterPlace) -> None:
        """What is there is put together."""

        def change() -> None:
            take_over(place, text)
            write_back(place, text, last_accessed=LATER, custom_metadata={"role": "guest"})

        text = str(place.command("GET", "session:id"))
        record = await store_at(place, TAKE, change).read("id")
        assert record is not None
        assert record.metadata["role"] == "guest"
        assert sessions_in(place) == 1

    @pytest.mark.parametrize("step", [ADOPT, TAKE], ids=["before", "between"])
    async def test_ended_by_another_process_of_ours(self, place: ClusterPlace, step: Script) -> None:
        """Whichever step it comes before: it stays ended, and the original goes."""

        def end() -> None:
            assert other_process(place.url, lambda store: store.delete("id")) is True

        assert await store_at(place, step, end).touch("id", 0) is False
        assert not published.is_there(place, "id")
        assert place.command("EXISTS", OURS) == 0
        assert place.command("EXISTS", tombstone_key(OURS)) == 1

    async def test_a_new_session_of_that_id(self, place: ClusterPlace) -> None:
        """What is removed again is what was put, not what somebody made since."""

        async def make(store: SessionStore) -> None:
            await store.delete("id")
            await store.create("id", "bob", 60.0, {})

        client = Meddler(place.url, UNDO, lambda: other_process(place.url, make))
        inner = Meddler(place.url, TAKE, lambda: place.command("DEL", "session:id"))
        chained = Chained(client, inner)
        record = await LegacyReadingStore(RedisSessionStore(chained, "box"), chained, "box").read("id")
        assert record is not None
        assert record.user_id == "bob"


def take_over(place: ClusterPlace, text: str) -> None:
    """What another process of ours does that had looked when the session was not under our key yet."""
    found = legacy.decode(text.encode())
    assert found is not None
    record = found.record

    async def attempt(_: SessionStore) -> Adoption:
        return await Move(Client(place.url), "id").attempt("box", record, text.encode(), 5000)

    assert other_process(place.url, attempt) is Adoption.MERGED
    assert not published.is_there(place, "id")


class Chained(Meddler):
    """A client at which two things happen, at two commands."""

    def __init__(self, first: Meddler, second: Meddler) -> None:
        Client.__init__(self, first._url)
        self._both = (first, second)

    def before(self, args: Any) -> None:
        for each in self._both:
            each.before(args)


class TestDeleting:
    @pytest.mark.parametrize("step", [END, DROP], ids=["before", "between"])
    async def test_taken_over_meanwhile(self, place: ClusterPlace, step: Script) -> None:
        """By a process that is before or after our tombstone: ended, said once, nothing left."""
        late = asyncio.Event()

        def meddle() -> None:
            assert other_process(place.url, lambda store: store.touch("id", 0)) is (step is END)
            late.set()

        assert await store_at(place, step, meddle).delete("id") is True
        assert late.is_set()
        assert not published.is_there(place, "id")
        assert place.command("EXISTS", OURS) == 0

    async def test_made_by_a_clock_that_is_ahead(self, place: ClusterPlace) -> None:
        """The tombstone keeps it out as any other."""
        published.put(place, "id", created_at=LATER, last_accessed=LATER, expires_at=None)

        def meddle() -> None:
            assert other_process(place.url, lambda store: store.touch("id", 0)) is False

        assert await store_at(place, DROP, meddle).delete("id") is True
        assert place.command("EXISTS", OURS) == 0

    async def test_on_a_full_server(self, place: ClusterPlace) -> None:
        """Ending a session is possible when nothing else is."""
        try:
            for node in place.nodes:
                node.command("CONFIG", "SET", "maxmemory", "1")
            assert await redis.factory(place.url).session_store("box").delete("id") is True
        finally:
            for node in place.nodes:
                node.command("CONFIG", "SET", "maxmemory", "0")
        assert not published.is_there(place, "id")
        assert place.command("EXISTS", tombstone_key(OURS)) == 1

    @pytest.mark.parametrize("step", [END, DROP], ids=["before", "between"])
    async def test_by_two(self, place: ClusterPlace, step: Script) -> None:
        """One of them ended it."""
        told: list[bool] = []

        def meddle() -> None:
            told.append(other_process(place.url, lambda store: store.delete("id")))

        told.append(await store_at(place, step, meddle).delete("id"))
        assert sorted(told) == [False, True]
        assert not published.is_there(place, "id")

    async def test_what_is_written_back_is_no_session(self, place: ClusterPlace) -> None:
        """It had been ended: a second logout says so, and cleans up."""
        text = str(place.command("GET", "session:id"))
        store = redis.factory(place.url).session_store("box")
        assert await store.delete("id") is True
        place.command("SETEX", "session:id", "100", text)
        assert await store.delete("id") is False
        assert not published.is_there(place, "id")


class TestMigrating:
    """In place: the same steps."""

    async def run(self, place: ClusterPlace, script: Script, meddle: Callable[[], object]) -> dict[str, int]:
        source = Meddler(place.url, script, meddle)
        return settled(await migrate(source, source))

    async def test_ended_meanwhile(self, place: ClusterPlace) -> None:
        assert await self.run(place, TAKE, lambda: place.command("DEL", "session:id")) == {"ended": 1}
        assert place.command("DBSIZE") == 0

    async def test_changed_meanwhile(self, place: ClusterPlace) -> None:
        assert await self.run(place, TAKE, lambda: published.put(place, "id", custom_metadata={"new": 1})) == {
            "moved": 1
        }
        record = await redis.factory(place.url).session_store("box").read("id")
        assert record is not None
        assert record.metadata == {"new": 1}
        assert sessions_in(place) == 1

    async def test_changed_and_used_meanwhile(self, place: ClusterPlace) -> None:
        """What another process of ours did is merged, not undone; it counts as it does between two databases."""
        text = str(place.command("GET", "session:id"))

        def change() -> None:
            assert other_process(place.url, lambda store: store.update("id", {"ours": 1}, False))
            write_back(place, text, custom_metadata={"theirs": 1})

        assert await self.run(place, TAKE, change) == {"moved": 1, "merged": 1}
        record = await redis.factory(place.url).session_store("box").read("id")
        assert record is not None
        assert record.metadata.items() >= {"ours": 1, "theirs": 1}.items()
        assert sessions_in(place) == 1

    async def test_ended_after_an_interruption(self, place: ClusterPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run was killed when the session was in both places: the next one does not bring back what was ended."""
        monkeypatch.delenv("SESSION_LEGACY_READ")

        def kill() -> None:
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError):
            await self.run(place, TAKE, kill)
        assert published.is_there(place, "id")
        assert await redis.factory(place.url).session_store("box").delete("id") is True
        client = Client(place.url)
        assert settled(await migrate(client, client)) == {"ended": 1}
        assert not published.is_there(place, "id")
        assert place.command("EXISTS", OURS) == 0

    async def test_to_another_sandbox_meanwhile(self, place: ClusterPlace) -> None:
        """It goes where it belongs in the end, and there only."""
        assert await self.run(place, TAKE, lambda: published.put(place, "id", "other")) == {"moved": 1}
        assert place.command("EXISTS", OURS) == 0
        assert place.command("EXISTS", session_key("other", "id")) == 1


@pytest.mark.parametrize("session_id", ["id", "{box}:x", "a}b", "{}", "{}{x}", "a{b", "}{", "é ☃"])
async def test_the_note(place: ClusterPlace, session_id: str) -> None:
    """It is beside the published key whatever the id, and sessions of such ids are taken over."""
    key = f"session:{session_id}".encode()
    assert slot_of(takeover_key(key)) == slot_of(key)
    published.put(place, session_id)
    store = redis.factory(place.url).session_store("box")
    assert await store.touch(session_id, 0) is True
    assert not published.is_there(place, session_id)
    assert place.command("EXISTS", takeover_key(key).decode()) == 1


async def test_both_in_one_slot(place: ClusterPlace) -> None:
    """Then one script has both, also in a cluster: there is no note."""
    session_id = next(
        f"{number}{{{number}}}"
        for number in range(1_000_000)
        if slot_of(f"{{{number}}}") == slot_of(session_key("box", f"{number}{{{number}}}"))
    )
    published.put(place, session_id)
    assert await redis.factory(place.url).session_store("box").touch(session_id, 0) is True
    assert place.command("EXISTS", takeover_key(f"session:{session_id}".encode()).decode()) == 0
