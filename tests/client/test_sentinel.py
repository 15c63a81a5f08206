"""Redis Sentinel as callers see it: the master is found, logged in to, and found again when another takes over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.scripts import Script
from tests.support.endings import LOOPS, ends_without_a_word
from tests.support.helpers import eventually
from tests.support.lateness import Lateness
from tests.support.peer import HangUp, peer
from tests.support.proxy import Proxy
from tests.support.sentinel_servers import MASTER_NAME, SentinelServers
from tests.support.servers import RedisServer, Server
from tests.support.tls_files import make_tls_files

pytestmark = pytest.mark.redis

PASSWORD, SENTINEL_PASSWORD = "p@ss:/#?%", "w@tch/er"


def lying_sentinel(address: str) -> AbstractAsyncContextManager[str]:
    """Says that whatever master is asked for is at ``address``; where it listens."""
    reply = "*2\r\n" + "".join(f"${len(part)}\r\n{part}\r\n" for part in address.split(":"))
    return peer(lambda data: b"+PONG\r\n" if b"PING" in data else reply.encode())


def addresses(group: SentinelServers) -> list[str]:
    return [f"{sentinel.host}:{sentinel.port}" for sentinel in group.sentinels]


def replica_of(group: SentinelServers) -> RedisServer:
    return next(server for server in group.servers if server is not group.master)


async def port_of(client: Client) -> int:
    """Of the server that the client talks to."""
    info = await client.call(b"INFO", "server")
    return int(info.decode().split("tcp_port:")[1].split()[0])


# -- finding the master ----------------------------------------------------------------------------------------


async def test_values_and_sessions_are_on_the_master(sentinels: SentinelServers) -> None:
    client = Client(sentinels.url)
    assert await client.call(b"SET", "k", "v") == b"OK"
    assert sentinels.master.command("GET", "k") == "v"
    manager = SessionManager("box", redis.factory(sentinels.url_for(db=3)), strict=True)
    assert await manager.validate_session(await manager.allocate_session())
    assert str(sentinels.master.info("keyspace").get("db3", "")).startswith("keys=1,")


async def test_a_first_sentinel_that_is_dead(sentinels: SentinelServers) -> None:
    sentinels.sentinels[0].kill()
    assert await Client(sentinels.url).call(b"PING") == b"PONG"


@pytest.mark.alone
async def test_a_first_sentinel_that_does_not_answer_costs_a_second_once(sentinels: SentinelServers) -> None:
    sentinels.sentinels[0].pause()
    client = Client(sentinels.url)
    begun = asyncio.get_running_loop().time()
    with Lateness() as lateness:
        number = await client.call(b"CLIENT", "ID")
    assert asyncio.get_running_loop().time() - begun < lateness.allow(2)
    begun = asyncio.get_running_loop().time()
    sentinels.master.command("CLIENT", "KILL", "ID", str(number))
    with Lateness() as lateness:
        await eventually(lambda: client.stats()["reconnects"] == 1)
    assert asyncio.get_running_loop().time() - begun < lateness.allow(0.9)  # the other one is asked first now


async def test_all_sentinels_away_is_an_error_that_lists_each() -> None:
    with SentinelServers() as group:
        for sentinel in group.sentinels:
            sentinel.kill()
        with pytest.raises(NotSent) as caught:
            await Client(group.url).call(b"PING")
        assert f"no Sentinel names a master '{MASTER_NAME}' that can be used" in str(caught.value)
        assert all(f"{address}: Connection refused" in str(caught.value) for address in addresses(group))


async def test_a_name_that_no_sentinel_knows(sentinels: SentinelServers) -> None:
    url = sentinels.url.replace(MASTER_NAME, "other")
    with pytest.raises(NotSent, match="'other'") as caught:
        await Client(url).call(b"PING")
    assert all(f"{address} knows no master of that name" in str(caught.value) for address in addresses(sentinels))


async def test_a_data_server_in_the_place_of_a_sentinel(redis_server: Server) -> None:
    with pytest.raises(NotSent, match=r"the Sentinel at .* says ERR unknown command"):
        await Client(f"redis://{redis_server.host}:{redis_server.port}/mymaster").call(b"PING")


async def test_a_sentinel_that_names_a_replica_is_not_believed(sentinels: SentinelServers) -> None:
    """As one does that has not heard of a failover yet: the next one is asked."""
    replica = replica_of(sentinels)
    async with lying_sentinel(f"{replica.host}:{replica.port}") as liar:
        with pytest.raises(NotSent, match=rf":{replica.port} as the master .*: it is a replica, though"):
            await Client(f"redis://{liar}/{MASTER_NAME}").call(b"PING")
        client = Client(f"redis://{liar},{addresses(sentinels)[0]}/{MASTER_NAME}")
        assert await client.call(b"SET", "k", "v") == b"OK"
        assert await port_of(client) == sentinels.master.port


async def test_a_sentinel_that_names_a_dead_server_is_not_believed(sentinels: SentinelServers) -> None:
    with RedisServer() as dead:
        dead.kill()
        async with lying_sentinel(f"{dead.host}:{dead.port}") as liar:
            with pytest.raises(NotSent, match=rf"{dead.port}.*refused"):
                await Client(f"redis://{liar}/{MASTER_NAME}").call(b"PING")
            assert await Client(f"redis://{liar},{addresses(sentinels)[0]}/{MASTER_NAME}").call(b"PING") == b"PONG"


async def test_a_master_that_hangs_up_as_soon_as_it_has_told_its_role() -> None:
    """The connection that is lost at that moment is not used, else nothing would be sent any more."""
    asked = 0

    def rule(data: bytes) -> bytes:
        nonlocal asked
        if b"ROLE" not in data:
            return b"+PONG\r\n"
        asked += 1
        reply = b"*1\r\n$6\r\nmaster\r\n"
        if asked < 3:
            raise HangUp(reply)
        return reply

    async with peer(rule) as master, lying_sentinel(master) as sentinel:
        client = Client(f"redis://{sentinel}/m?socket_timeout=1")
        await asyncio.gather(client.call(b"PING"), return_exceptions=True)
        await eventually(lambda: asked >= 3 and " up " in repr(client))
        assert await client.call(b"PING") == b"PONG"
        await client.deployment().close()


# -- logging in ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed() -> Iterator[SentinelServers]:
    """Where data servers and Sentinels ask for different logins."""
    with SentinelServers(
        users={"alice": PASSWORD}, sentinel_user="watcher", sentinel_password=SENTINEL_PASSWORD
    ) as group:
        yield group


def refusals(server: Server) -> list[str]:
    """The users whose login the server has refused."""
    rows = server.command("ACL", "LOG")
    assert isinstance(rows, list)
    entries = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows if isinstance(row, list)]
    return [str(entry["username"]) for entry in entries]


async def test_both_logins_are_used_and_neither_goes_to_the_others(closed: SentinelServers) -> None:
    for server in closed.members:
        server.command("ACL", "LOG", "RESET")
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(each.host, each.port)) for each in closed.sentinels]
        url = closed.url
        for address, proxy in zip(addresses(closed), proxies, strict=True):
            url = url.replace(address, proxy.url.removeprefix("redis://"))
        client = Client(url)
        assert await client.call(b"ACL", "WHOAMI") == b"alice"
        await client.deployment().close()
        sent = b"".join(proxy.requests for proxy in proxies)
    assert SENTINEL_PASSWORD.encode() in sent
    assert PASSWORD.encode() not in sent
    assert b"alice" not in sent
    assert [refusals(server) for server in closed.members] == [[]] * len(closed.members)


async def test_a_callable_is_asked_for_the_data_servers_only(closed: SentinelServers) -> None:
    asked = 0

    def credentials() -> tuple[str, str]:
        nonlocal asked
        asked += 1
        return "alice", PASSWORD

    client = Client(closed.url_for(), credentials)
    number = await client.call(b"CLIENT", "ID")
    assert asked == 1
    await client.call(b"CLIENT", "KILL", "ID", number, "SKIPME", "no")
    await eventually(lambda: client.stats()["reconnects"] == 1)
    assert await client.call(b"ACL", "WHOAMI") == b"alice"
    assert asked == 2


async def test_a_wrong_login_is_an_error_that_names_the_data_server(closed: SentinelServers) -> None:
    with pytest.raises(NotSent, match=rf"127\.0\.0\.1:{closed.master.port}: WRONGPASS") as caught:
        await Client(closed.url_for("alice", "hunter2")).call(b"PING")
    assert "hunter2" not in str(caught.value)


async def test_a_wrong_login_of_the_sentinels_is_an_error_that_names_each(closed: SentinelServers) -> None:
    url = closed.url.replace("sentinel_password=w%40tch%2Fer", "sentinel_password=hunter2")
    assert "hunter2" in url
    with pytest.raises(NotSent) as caught:
        await Client(url).call(b"PING")
    assert all(f"{address}: WRONGPASS" in str(caught.value) for address in addresses(closed))
    assert "hunter2" not in str(caught.value)


async def test_sentinels_that_ask_for_a_login_which_the_url_does_not_have(closed: SentinelServers) -> None:
    with pytest.raises(NotSent, match=r"no Sentinel names .*NOAUTH"):
        await Client(closed.url.partition("?")[0]).call(b"PING")


async def test_over_tls(tmp_path: Path) -> None:
    tls = make_tls_files(tmp_path, ask_clients=True)
    with SentinelServers(tls=tls, password="secret", sentinel_password="w@tch") as group:
        client = Client(group.url)
        await client.call(b"SET", "k", "v")
        await asyncio.to_thread(group.failover)
        assert await client.call(b"SET", "k", "w") == b"OK"
        assert group.master.command("GET", "k") == "w"


# -- another master --------------------------------------------------------------------------------------------


async def test_writes_go_on_at_the_new_master_when_the_old_one_is_demoted(
    sentinels: SentinelServers, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its connections and answers READONLY: nobody is told, but whose write was under way."""
    client = Client(f"{sentinels.url}?reconnect_grace=10&socket_timeout=10")
    wrote, unknown, stop = 0, 0, False

    async def write(name: str) -> None:
        nonlocal wrote, unknown
        while not stop:
            try:
                await client.call(b"INCR", name)
                wrote += 1
            except OutcomeUnknown:
                unknown += 1

    writers = [asyncio.create_task(write(f"k{number}")) for number in range(50)]
    await eventually(lambda: wrote > 500)
    new = await asyncio.to_thread(sentinels.failover)
    before = wrote
    await eventually(lambda: wrote > before + 1000)
    stop = True
    await asyncio.gather(*writers)
    assert await port_of(client) == new.port
    assert unknown <= 50
    assert client.stats()["reconnects"] == 1
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 2


async def test_sessions_validate_and_scripts_run_on_the_new_master(sentinels: SentinelServers) -> None:
    """It has never been sent a script, and the first call that it is asked for after the demotion is a validation."""
    manager = SessionManager("box", redis.factory(sentinels.url), strict=True)
    session_id = await manager.allocate_session(user_id="alice")
    assert await manager.validate_session(session_id)
    assert await manager.update_session_metadata(session_id, {"a": 1})
    await asyncio.to_thread(sentinels.wait_until_synced)
    new = await asyncio.to_thread(sentinels.failover)
    new.command("SCRIPT", "FLUSH")
    assert await manager.validate_session(session_id)
    assert await manager.update_session_metadata(session_id, {"b": 2})
    assert await manager.extend_session_ttl(session_id, 1)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": 1, "b": 2}
    assert await manager.delete_session(session_id)
    assert new.command("DBSIZE") == 0


async def test_a_script_that_meets_a_demoted_master_runs_on_the_new_one(sentinels: SentinelServers) -> None:
    client, script = Client(sentinels.url), Script("return redis.call('INCR', KEYS[1])")
    assert await script.run(client, ("n",), ()) == 1
    await asyncio.to_thread(sentinels.wait_until_synced)
    new = await asyncio.to_thread(sentinels.failover)
    assert await script.run(client, ("n",), ()) == 2
    assert new.command("GET", "n") == "2"


@pytest.mark.alone
async def test_a_master_that_is_silent_and_replaced(sentinels: SentinelServers) -> None:
    client = Client(f"{sentinels.url}?socket_timeout=0.5&reconnect_grace=10")
    await client.call(b"PING")
    old = sentinels.master
    old.pause()
    begun = asyncio.get_running_loop().time()
    with Lateness() as lateness, pytest.raises(OutcomeUnknown):
        await client.call(b"INCR", "k")
    assert asyncio.get_running_loop().time() - begun < lateness.allow(0.6)
    new = await asyncio.to_thread(sentinels.wait_for_promotion, old)

    async def is_back() -> bool:
        (reply,) = await asyncio.gather(client.call(b"SET", "k", "v"), return_exceptions=True)
        return reply == b"OK"

    await eventually(is_back)
    assert new.command("GET", "k") == "v"


# -- at any moment ---------------------------------------------------------------------------------------------


async def test_a_framework_that_cancels_all_tasks_at_any_moment(sentinels: SentinelServers) -> None:
    """Whichever step it interrupts, the next call connects anew, and no connection is left behind."""
    mine = asyncio.current_task()
    for turns in range(40):
        client = Client(f"{sentinels.url}?client_name=turn-{turns}")
        first = client.call(b"PING")
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {mine}:
            task.cancel()
        assert (await asyncio.gather(first, return_exceptions=True))[0] == b"PONG" or isinstance(
            first.exception(), NotSent
        )
        assert await client.call(b"PING") == b"PONG"
        await eventually(lambda: str(sentinels.master.command("CLIENT", "LIST")).count(f"name=turn-{turns} ") == 1)  # noqa: B023
        for sentinel in sentinels.sentinels:
            await eventually(lambda: f"name=turn-{turns} " not in str(sentinel.command("CLIENT", "LIST")))  # noqa: B023


SHUTDOWN = """
    from chuk_sessions.redis_client.client import Client

    tasks = []

    async def main(turns):
        client = Client(url)
        tasks[:] = [asyncio.create_task(call(client, f"k{number}")) for number in range(100)]
        for _ in range(turns):
            await asyncio.sleep(0)

    async def call(client, key):
        return await client.call(b"GET", key)

    for turns in range(40):
        run(main(turns))
        assert all(task.done() for task in tasks)
        gc.collect()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_ends_at_any_moment_ends_without_a_word(sentinel_url: str, loop: str) -> None:
    ends_without_a_word(SHUTDOWN, sentinel_url, loop)
