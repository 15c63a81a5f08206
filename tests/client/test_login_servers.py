"""Logins that are renewed at real servers: users and passwords that rotate, a cluster, and Sentinels."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis import Login
from chuk_sessions.redis_client import renewal
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.cluster import Cluster
from chuk_sessions.redis_client.link import Link
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.renewal import Renewal
from tests.support.cluster_servers import ClusterServers
from tests.support.endings import LOOPS, ends_without_a_word
from tests.support.helpers import eventually
from tests.support.interruptions import interruptions
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.redis
OFTEN, LONG = 0.05, 5.0  # seconds between renewals, and until the connection would end without one


@pytest.fixture(scope="module")
def closed() -> Iterator[RedisServer]:
    """Asks for a login."""
    with RedisServer(password="default's", users={"blue": "blue's", "green": "green's"}) as server:
        yield server


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins are renewed early, so that a busy machine has the time to do it."""
    monkeypatch.setattr(renewal, "BEGIN", OFTEN / LONG)


async def at_work(client: Client, until: Callable[[], object], callers: int = 50) -> None:
    """Many callers count as long as they must. Each call succeeds, and is carried out once."""
    begun = int(await client.call(b"GET", "{n}") or 0)

    async def count() -> int:
        done = 0
        while not until():
            await client.call(b"INCR", "{n}")
            done += 1
        return done

    done = sum(await asyncio.gather(*(count() for _ in range(callers))))
    assert int(await client.call(b"GET", "{n}")) == begun + done
    assert client.stats()["reconnects"] == 0


async def test_another_user_on_the_connection_that_goes_on(closed: RedisServer, often: None) -> None:
    """The server itself tells who it is talking to."""
    asked = 0

    async def by_turns() -> Login:
        nonlocal asked
        asked += 1
        user = ("blue", "green")[asked % 2]
        return Login(user, f"{user}'s", renew_in=LONG)

    client = Client(closed.url_for(), by_turns)
    number = await client.call(b"CLIENT", "ID")
    for user in (b"blue", b"green", b"blue"):

        async def is_user(user: bytes = user) -> bool:
            return bool(await client.call(b"ACL", "WHOAMI") == user)

        await eventually(is_user)
    await at_work(client, lambda: client.stats()["login_renewals"] >= 20)
    assert await client.call(b"CLIENT", "ID") == number


async def test_a_password_that_rotates(closed: RedisServer, often: None) -> None:
    """The server takes the old and the new one for a while; each is used on the connection that goes on."""
    current = 0

    def login() -> Login:
        return Login("rotating", f"password {current}", renew_in=LONG)

    closed.command("ACL", "SETUSER", "rotating", "on", ">password 0", "~*", "+@all")
    client = Client(closed.url_for(), login)
    await client.call(b"DEL", "{n}")
    for number in range(1, 6):
        await asyncio.to_thread(closed.command, "ACL", "SETUSER", "rotating", f">password {number}")
        current = number
        before = client.stats()["login_renewals"]
        await at_work(client, lambda: client.stats()["login_renewals"] >= before + 2)  # noqa: B023
        await asyncio.to_thread(closed.command, "ACL", "SETUSER", "rotating", f"<password {number - 1}")
    assert "rotating" not in str(closed.command("ACL", "LOG"))


async def test_a_password_that_the_server_does_not_know(closed: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """A refused AUTH takes nothing from the connection, which the new password finds as it was."""
    password = "blue's"
    client = Client(closed.url_for(), lambda: Login("blue", password, renew_in=LONG))
    number = await client.call(b"CLIENT", "ID")
    password = "hunter2"
    await eventually(lambda: "the server refuses it: WRONGPASS" in caplog.text)
    assert await client.call(b"ACL", "WHOAMI") == b"blue"
    password = "blue's"
    await eventually(lambda: client.stats()["login_renewals"])
    assert await client.call(b"CLIENT", "ID") == number
    assert "hunter" not in caplog.text


async def test_a_server_that_has_lost_the_login(closed: RedisServer) -> None:
    """RESET takes it away between two renewals: the commands behind it are sent again, each once and in order."""
    client = Client(closed.url_for(), lambda: Login("blue", "blue's", renew_in=60))
    await client.call(b"DEL", "n")
    reset, *counts = await asyncio.gather(client.call(b"RESET"), *(client.call(b"INCR", "n") for _ in range(100)))
    assert reset == b"RESET"
    assert counts == list(range(1, 101))
    assert client.stats()["reconnects"] == 1


async def test_factories_take_it(closed: RedisServer, often: None) -> None:
    factory = redis.factory(closed.url_for(), lambda: redis.Login(None, "default's", renew_in=LONG))
    async with factory() as values:
        await values.set("k", "v")
        await eventually(lambda: factory.stats()["login_renewals"] > 2)
        assert await values.get("k") == "v"


async def test_a_near_cache_goes_on(closed: RedisServer, often: None) -> None:
    """The connection that the server tracks is the same, whoever has logged in: answers come from here, and changes."""
    users = itertools.cycle(("blue", "green"))

    def by_turns() -> Login:
        user = next(users)
        return Login(user, f"{user}'s", renew_in=LONG)

    factory = redis.factory(closed.url_for(), by_turns)
    manager = SessionManager("box", factory, touch_interval=60, near_cache=30, strict=True)
    other = SessionManager("box", redis.factory(closed.url_for("green", "green's")), strict=True)
    session_id = await manager.allocate_session()

    async def is_warm() -> bool:
        before = factory.stats()["near_hits"]
        assert await manager.validate_session(session_id)
        assert await manager.get_session_info(session_id)
        return factory.stats()["near_hits"] == before + 2

    await eventually(is_warm)
    for _ in range(4):
        before = factory.stats()["login_renewals"]
        await eventually(lambda: factory.stats()["login_renewals"] > before)  # noqa: B023
        assert await is_warm()
    assert (factory.stats()["near_state"], factory.stats()["reconnects"]) == (2, 0)
    assert await other.delete_session(session_id)

    async def is_gone() -> bool:
        return not await manager.validate_session(session_id)

    await eventually(is_gone, 10)


async def test_each_server_of_a_cluster_renews_by_itself(often: None, caplog: pytest.LogCaptureFixture) -> None:
    """Three masters, whose users rotate at other moments; one is asked more often than the others."""
    with ClusterServers(masters=3, replicas=0, users={"alice": "alice's", "bob": "bob's"}) as group:
        asked = 0

        async def by_turns() -> Login:
            nonlocal asked
            asked += 1
            user = ("alice", "bob")[asked % 2]
            return Login(user, f"{user}'s", renew_in=LONG * (1 + asked % 3))

        client = Client(group.url_for(), by_turns)
        cluster = cast(Cluster, client.deployment())

        def renewed() -> list[int]:
            return [node.login_renewals for node in cluster._map.nodes.values()]

        async def keep_counting(key: str) -> None:
            done = 0
            while min(renewed()) < 10:
                assert await client.call(b"INCR", key) == done + 1
                done += 1

        await asyncio.gather(*(client.call(b"GET", str(key)) for key in range(50)))
        await asyncio.gather(*(keep_counting(str(key)) for key in range(50)))
        assert len(renewed()) == 3
        assert client.stats()["login_renewals"] == sum(renewed())
        assert client.stats()["reconnects"] == 0
        await client.deployment().close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_each_server_of_a_cluster_that_has_lost_the_login() -> None:
    """The commands that were refused are sent again to the same server, each once."""
    with ClusterServers(masters=3, replicas=0, users={"alice": "alice's"}) as group:
        client = Client(group.url_for(), lambda: Login("alice", "alice's", renew_in=60))
        keys = [str(key) for key in range(60)]
        assert await asyncio.gather(*(client.call(b"INCR", key) for key in keys)) == [1] * len(keys)
        cluster = cast(Cluster, client.deployment())
        resets = [node.call((b"RESET",)) for node in cluster._map.nodes.values()]
        assert await asyncio.gather(*(client.call(b"INCR", key) for key in keys)) == [2] * len(keys)
        assert await asyncio.gather(*resets) == [b"RESET"] * 3
        assert client.stats()["reconnects"] == 3
        await client.deployment().close()


SHUTDOWN = """
    from chuk_sessions.providers.redis import Login
    from chuk_sessions.redis_client import renewal
    from chuk_sessions.redis_client.client import Client

    renewal.BEGIN = 0.002
    asked = []

    async def login():
        asked.append(1)
        if len(asked) % 2 == 0:
            await asyncio.sleep(seconds)
        return Login("blue", "blue's", renew_in=5)

    async def main():
        client = Client(url, login)
        await client.call(b"PING")
        while len(asked) % 2:
            await asyncio.sleep(0.001)
        for _ in range(turns):
            await asyncio.sleep(0)

    for seconds in (0, 60):
        for turns in range(8):
            asked.clear()
            run(main())
            gc.collect()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_ends_while_a_login_is_renewed_ends_without_a_word(closed: RedisServer, loop: str) -> None:
    """While the function is asked, and while AUTH is under way."""
    ends_without_a_word(SHUTDOWN, closed.url_for(), loop)


@pytest.mark.filterwarnings("ignore:coroutine 'Renewal._renew' was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_what_the_loop_calls_may_be_interrupted(closed: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception at each call of the timer in turn: the login is renewed, or the connection ends in good order."""
    begin = Renewal._begin
    for interruption in interruptions():

        def once(self: Renewal) -> None:
            monkeypatch.setattr(Renewal, "_begin", begin)
            with interruption:  # noqa: B023
                begin(self)

        monkeypatch.setattr(Renewal, "_begin", once)
        client = Client(closed.url_for(), lambda: Login("blue", "blue's", renew_in=OFTEN))
        await client.call(b"PING")
        await eventually(lambda: client.stats()["login_renewals"] or client.stats()["reconnects"])  # noqa: B023
        assert await client.call(b"ECHO", "x") == b"x"
        await client.deployment().close()


async def test_nothing_is_made_for_a_login_without_an_end(closed: RedisServer) -> None:
    """The module is not even loaded."""
    code = f"""
import asyncio, sys
from chuk_sessions.providers.redis import Login, factory

async def main():
    for login in ("default's", ("blue", "blue's"), Login("blue", "blue's")):
        async with factory({closed.url_for()!r}, lambda: login)() as values:
            await values.set("k", "v")

asyncio.run(main())
assert "chuk_sessions.redis_client.link" in sys.modules
assert "chuk_sessions.redis_client.renewal" not in sys.modules
"""
    result = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    client = Client(closed.url_for(), lambda: ("blue", "blue's"))
    await client.call(b"PING")
    link: Link = cast(Node, client.deployment())._link
    assert link._renewal is None
