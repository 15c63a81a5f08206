"""Users with many sessions on Redis: what a script looks at is bounded, and pages leave nobody out."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import session_key, user_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis import index as index_module
from chuk_sessions.providers.redis.entries import mark_of, parse_member, raw_member
from chuk_sessions.providers.redis.keys import index_key
from chuk_sessions.providers.redis.pages import BEGINNING, PAGE, Page, Place, read_page
from chuk_sessions.providers.redis.scripts import CREATE, END, MAX_LOOK, MAX_VICTIMS
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.client import Client
from tests.support.meddler import Meddler
from tests.support.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

pytestmark = pytest.mark.redis

USER, HOUR = "alice", 3600.0
INDEX = index_key("box", user_tag("box", USER))
MANY = 2 * MAX_LOOK + 500


@pytest.fixture(autouse=True)
def empty(redis_server: Server) -> None:
    redis_server.flush()


async def ids_of(manager: SessionManager, user_id: str = USER) -> list[str]:
    return [info["session_id"] for info in await manager.list_user_sessions(user_id)]


async def log_in(manager: SessionManager, number: int) -> list[str]:
    """That many sessions of the user."""
    made: list[str] = []
    while len(made) < number:
        requests = [{"user_id": USER}] * min(500, number - len(made))
        made += map(str, await manager.allocate_sessions(requests))
    return made


def looked_at(commands: list[list[str]]) -> int:
    """How many entries of an index the commands of one script may have looked at; a million without a bound."""
    total = 0
    for words in commands:
        if words[0].upper() in ("ZRANGEBYSCORE", "ZREMRANGEBYSCORE", "ZRANGE"):
            total += int(words[-1]) if "LIMIT" in words else 1_000_000
    return total


async def test_no_script_looks_at_more_than_some_sessions(redis_server: Server, redis_url: str) -> None:
    """Whatever is done for a user with thousands of them: log in, below a limit and above it, list, end."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    below = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=10_000)
    above = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=MANY - 300)
    low = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=3)
    made = await log_in(manager, MANY)
    with Monitor(redis_server) as monitor:
        runs = []
        new = await below.allocate_session(user_id=USER)
        assert len(monitor.runs()) == 1
        assert await below.delete_session(new)
        assert len(await ids_of(manager)) == MANY
        runs += monitor.runs()
        new = await above.allocate_session(user_id=USER)
        runs += monitor.runs()
        assert sorted(await ids_of(manager)) == sorted([*made[301:], new])
        last = await low.allocate_session(user_id=USER)
        assert await ids_of(manager) == [made[-1], new, last]
        runs += monitor.runs()
        await log_in(manager, MANY)
        assert await manager.delete_user_sessions(USER, keep=last) == MANY + 2
        assert await ids_of(manager) == [last]
        runs += monitor.runs()
    assert max(looked_at(run.commands) for run in runs) <= 2 * MAX_LOOK + MAX_VICTIMS + 1
    assert max(len(run.commands) for run in runs) <= 3 * MAX_VICTIMS + 10
    assert max(len(run.keys) for run in runs) <= MAX_VICTIMS + 20


@pytest.mark.parametrize("chosen", [True, False], ids=["chosen id", "made here"])
async def test_the_limit_of_a_user_who_shares_an_index_with_a_large_one(redis_url: str, chosen: bool) -> None:
    """The entries of the other do not count, though there are too many to look at in one step."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=2)
    client, now = Client(redis_url), 1_000_000 * 4_000_000_000
    others = [raw_member(INDEX, f"session:{{abcdef}}:box:{n}", b"bob", b"%d." % (now + n)) for n in range(MANY)]
    for start in range(0, MANY, 500):
        pairs = [part for each in others[start : start + 500] for part in (b"4000000000000", each)]
        await client.call(b"ZADD", INDEX, *pairs)
    made = [await manager.allocate_session(f"my-{n}" if chosen else None, USER) for n in range(4)]
    assert await ids_of(manager) == made[2:]
    assert await client.call(b"ZCARD", INDEX) == MANY + 2
    assert await manager.delete_user_sessions(USER) == 2


# -- Pages -----------------------------------------------------------------------------------------------------


def entry(name: str, user: str = USER) -> bytes:
    """Of a session of that user."""
    return raw_member(INDEX, f"session:{{abcdef}}:box:{name}", user.encode(), b"1.")


async def pages(client: Client, size: int) -> AsyncIterator[Page]:
    place: Place | None = BEGINNING
    while place is not None:
        page = await read_page(client.begin(), INDEX, mark_of(USER.encode()), place, size=size)
        place = page.next
        yield page


@pytest.mark.parametrize("deadlines", [1, 3, 1000])
@pytest.mark.parametrize("seed", range(5))
async def test_who_is_there_all_the_while_is_on_a_page(redis_url: str, deadlines: int, seed: int) -> None:
    """However many have one deadline, and whoever comes, goes, or is given a later deadline between the pages."""
    chance, client, first = random.Random(seed), Client(redis_url), 4_000_000_000_000
    staying = {entry(f"s{n}"): first + n % deadlines for n in range(300)}
    going = [entry(f"g{n}") for n in range(300)]
    for member in going:
        await client.call(b"ZADD", INDEX, first + chance.randrange(deadlines), member)
    for member, score in staying.items():
        await client.call(b"ZADD", INDEX, score, member)
    await client.call(b"ZADD", INDEX, first, entry("b", "bob"))
    seen: list[bytes] = []
    async for page in pages(client, 37):
        assert page.seen <= 37
        seen += [member.raw for member in page.members]
        for _ in range(10):
            await client.call(b"ZREM", INDEX, chance.choice(going))
            later = chance.choice(list(staying))
            staying[later] += chance.randrange(2)
            await client.call(b"ZADD", INDEX, staying[later], later)
    assert staying.keys() <= set(seen)
    assert entry("b", "bob") not in seen


@pytest.mark.parametrize("chosen", [True, False], ids=["chosen ids", "made here"])
async def test_sessions_that_are_renewed_all_the_while_are_listed_and_ended(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    """By pages of three: each time one was read, a session from anywhere gets a new id."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    ids = [await manager.allocate_session(f"my-{n}" if chosen else None, USER) for n in range(20)]
    chance, read = random.Random(1), read_page

    async def and_renew(call: Any, index: str, user: bytes, place: Place = BEGINNING, **options: Any) -> Page:
        page = await read(call, index, user, place, **{**options, "size": 3})
        for number in chance.sample(range(20), 2):
            ids[number] = await manager.renew_session(ids[number]) or ids[number]
        return page

    monkeypatch.setattr(index_module, "read_page", and_renew)
    listed = await ids_of(manager)
    assert len(listed) == len(set(listed))
    assert len(listed) >= 18  # the two that were renewed last may have been read before that
    assert await manager.delete_user_sessions(USER) == 20
    monkeypatch.undo()
    assert not any([await manager.validate_session(each) for each in ids])
    assert await ids_of(manager) == []


# -- Condemned sessions ----------------------------------------------------------------------------------------


class DiedError(BaseException):
    """The process ends here."""


async def login_that_is_overtaken(url: str, monkeypatch: pytest.MonkeyPatch, dies: bool) -> list[str]:
    """One session, a login with room for one, and in the middle of it another login; the ids in order."""
    manager = SessionManager("box", redis.factory(url), strict=True)
    made = [await manager.allocate_session(user_id=USER)]
    tag = user_tag("box", USER)
    ids = [f"sess-{n}-{n:032x}{tag}" for n in range(2)]
    runs = 0

    def overtake() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:  # what it knows now is that the one session must end
            asyncio.run(overtaking(url, ids[0]))

    def in_a_thread() -> None:
        thread = threading.Thread(target=overtake)
        thread.start()
        thread.join()

    store = RedisSessionStore(Meddler(url, CREATE, in_a_thread, times=2), "box")
    if dies:

        async def die(*_: object) -> None:
            raise DiedError

        monkeypatch.setattr(END, "step", die)
        with pytest.raises(DiedError):
            await store.create(ids[1], USER, HOUR, {}, limit=1)
        monkeypatch.undo()
    else:
        await store.create(ids[1], USER, HOUR, {}, limit=1)
    return made + ids


async def overtaking(url: str, session_id: str) -> None:
    await RedisSessionStore(Client(url), "box").create(session_id, USER, HOUR, {}, limit=1)


async def test_a_login_that_is_overtaken_ends_whom_it_did_not_know(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a step more, without beginning anew."""
    with Monitor(redis_server) as monitor:
        ids = await login_that_is_overtaken(redis_url, monkeypatch, dies=False)
        shas = [run.sha for run in monitor.runs() if run.commands]
    assert shas.count(END.sha.decode()) == 1
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    assert [await manager.validate_session(each) for each in ids] == [False, False, True]
    assert await ids_of(manager) == ids[2:]
    assert redis_server.command("ZCARD", INDEX) == 1


@pytest.mark.parametrize("then", ["renew", "log in", "end all"])
async def test_a_login_that_dies_before_it_has_ended_whom_it_condemned(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Such a session is not listed and cannot be renewed; the next login that must make room ends it."""
    ids = await login_that_is_overtaken(redis_url, monkeypatch, dies=True)
    manager = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=1)
    assert await ids_of(manager) == ids[2:]
    if then == "renew":
        assert await manager.renew_session(ids[1]) is None
        assert redis_server.command("ZCARD", INDEX) == 2
    elif then == "log in":
        ids.append(await manager.allocate_session(user_id=USER))
        assert [await manager.validate_session(each) for each in ids] == [False, False, False, True]
        assert redis_server.command("ZCARD", INDEX) == 1
    else:
        assert await manager.delete_user_sessions(USER) == 2
        assert not any([await manager.validate_session(each) for each in ids])
        assert redis_server.command("EXISTS", INDEX) == 0


async def test_all_are_ended_after_the_clock_was_set_back(redis_url: str) -> None:
    """Or after another server took over whose clock is behind: by that clock all were created in the future."""
    manager, client = SessionManager("box", redis.factory(redis_url), strict=True), Client(redis_url)
    made = await log_in(manager, PAGE + 200)
    for raw in await client.call(b"ZRANGE", INDEX, 0, -1):
        member = parse_member(INDEX, raw)
        key = session_key("box", member.session_id)
        created = member.born + 3_600_000_000
        await client.call(b"HSET", key, b"created", created)
        score = await client.call(b"ZSCORE", INDEX, raw)
        await client.call(b"ZREM", INDEX, raw)
        await client.call(b"ZADD", INDEX, score, raw_member(INDEX, key, USER.encode(), b"%d." % created))
    assert await manager.delete_user_sessions(USER, keep=made[0]) == len(made) - 1
    assert await ids_of(manager) == [made[0]]
