"""The client against a real server: login, databases, scripts, cancellation under load, and lost connections."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ServerError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Argument, pack
from chuk_sessions.redis_client.scripts import Script
from tests.support.helpers import eventually
from tests.support.listening import listening
from tests.support.servers import RedisServer, Server

PASSWORD = "s3cr3t/#:@"
ECHO = Script("return {KEYS[1], ARGV[1]}")


def calls_of(server: Server, command: str) -> int:
    """How often the server ran a command."""
    stats = server.info("commandstats").get(f"cmdstat_{command}", "calls=0")
    return int(stats.partition("calls=")[2].partition(",")[0])


async def test_replies_come_as_bytes_numbers_lists_and_none(redis_url: str) -> None:
    client = Client(redis_url)
    assert await client.call(b"SET", "k", "v") == b"OK"
    assert await client.call(b"GET", "k") == b"v"
    assert await client.call(b"GET", "missing") is None
    assert await client.call(b"INCRBY", "n", 5) == 5
    assert await client.call(b"MGET", "k", "n") == [b"v", b"5"]


async def test_the_servers_error_reaches_the_caller_and_the_connection_lives(redis_url: str) -> None:
    client = Client(redis_url)
    await client.call(b"SET", "k", "v")
    with pytest.raises(ServerError, match=r"^WRONGTYPE"):
        await client.call(b"HGETALL", "k")
    assert await client.call(b"GET", "k") == b"v"


async def test_the_database_of_the_url_is_used(redis_server: Server) -> None:
    redis_server.flush()
    one, two = Client(redis_server.url_for(db=1)), Client(redis_server.url_for(db=2))
    await one.call(b"SET", "k", "one")
    assert await two.call(b"GET", "k") is None
    assert await one.call(b"UNLINK", "k") == 1


@pytest.mark.redis
async def test_password_and_acl_user() -> None:
    with RedisServer(password=PASSWORD, users={"app": PASSWORD}) as server:
        for url in (server.url_for(password=PASSWORD), server.url_for("app", PASSWORD)):
            assert await Client(url).call(b"PING") == b"PONG"
        user = await Client(server.url_for("app", PASSWORD)).call(b"ACL", "WHOAMI")
        assert user == b"app"


@pytest.mark.redis
@pytest.mark.parametrize(("username", "password"), [("", "wr0ng"), ("app", "wr0ng"), ("", "")])
async def test_a_refused_login_names_server_and_reason_but_no_password(username: str, password: str) -> None:
    with RedisServer(password=PASSWORD, users={"app": PASSWORD}) as server:
        client = Client(server.url_for(username, password))
        with pytest.raises(ProviderError) as caught:
            await client.call(b"GET", "k")
        message = str(caught.value)
        assert ("NOAUTH" if not password else "WRONGPASS") in message
        assert PASSWORD not in message
        assert "wr0ng" not in message


async def test_no_server_is_an_error_that_names_host_and_reason() -> None:
    with socket.socket() as taken:  # and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for _ in range(2):  # the second call tries again
            with pytest.raises(NotSent, match=rf"127\.0\.0\.1:{port}: .*(refused|failed)"):
                await Client(f"redis://127.0.0.1:{port}").call(b"GET", "k")


async def test_a_host_that_does_not_exist_is_an_error_that_names_it() -> None:
    with pytest.raises(NotSent, match=r"host\.invalid:6379"):
        await Client("redis://host.invalid").call(b"GET", "k")


async def test_the_connect_timeout_includes_the_login() -> None:
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = Client(f"redis://:pw@127.0.0.1:{port}?socket_connect_timeout=0.05")
        with pytest.raises(NotSent, match=f"{port}: no answer within 0.05 s"):
            await client.call(b"GET", "k")


async def test_a_server_that_hangs_up_during_the_login() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(hang_up) as address:
        with pytest.raises(NotSent, match=address):
            await Client(f"redis://:pw@{address}").call(b"GET", "k")


async def test_many_first_callers_share_one_connection_attempt(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    before = int(own_server.info("stats")["total_connections_received"])
    assert await asyncio.gather(*(client.call(b"PING") for _ in range(200))) == [b"PONG"] * 200
    after = int(own_server.info("stats")["total_connections_received"])
    assert after - before == 2  # the client's, and the one that asks now


async def test_a_caller_that_gives_up_while_connecting_leaves_the_others_alone(redis_url: str) -> None:
    client = Client(redis_url)
    first, second = client.call(b"ECHO", "1"), client.call(b"ECHO", "2")
    first.cancel()
    assert await second == b"2"


async def test_a_script_runs_also_after_the_server_forgot_it(redis_url: str) -> None:
    client = Client(redis_url)
    for _ in range(2):
        assert await ECHO.run(client, ("k",), ("v",)) == [b"k", b"v"]
        await client.call(b"SCRIPT", "FLUSH")
    assert await asyncio.gather(*(ECHO.run(client, ("k",), (i,)) for i in range(50))) == [
        [b"k", str(i).encode()] for i in range(50)
    ]


async def test_a_scripts_own_error_is_not_taken_for_a_missing_script(redis_url: str) -> None:
    with pytest.raises(ServerError, match="on purpose"):
        await Script("return redis.error_reply('ERR on purpose')").run(Client(redis_url), (), ())


NAMES = BatchScript("local names = {} for i, key in ipairs(KEYS) do names[i] = key .. ARGV[1] end return names")


async def test_a_batch_gives_each_caller_the_result_for_its_key(redis_server: Server, redis_url: str) -> None:
    """200 calls of one turn are four commands, and so many again to send the source."""
    client = Client(redis_url)
    await NAMES.run(client, "first", ("!",))
    before = calls_of(redis_server, "evalsha")
    names = [f"key-{i}" for i in range(200)]
    replies = await asyncio.gather(*(NAMES.run(client, name, ("!",)) for name in names))
    assert replies == [f"{name}!".encode() for name in names]
    assert calls_of(redis_server, "evalsha") - before == 4


async def test_of_one_key_a_script_may_reply_the_number_itself(redis_url: str) -> None:
    """By source and by its hash; with several keys each caller gets the number of its own."""
    script = BatchScript(
        "local found = {} for i, key in ipairs(KEYS) do found[i] = tonumber(string.sub(key, 2)) end"
        " if #KEYS == 1 then return found[1] end return found"
    )
    client = Client(redis_url)
    assert [await script.run(client, f"k{i}", ()) for i in range(3)] == [0, 1, 2]
    assert await asyncio.gather(*(script.run(client, f"k{i}", ()) for i in range(30))) == list(range(30))


@pytest.mark.parametrize("args", [(), ("",), (b"\r\n", 7, "ü"), tuple(range(200))], ids=len)
def test_a_command_for_one_key_has_the_bytes_of_any_command(args: tuple[Argument, ...]) -> None:
    """Though most of them are made once, for all keys; calls with other arguments come in between."""
    sha = NAMES._script.sha
    for key in ("", "key", "ключ", "k" * 1000):
        for more in (args, (*args, "!")):
            assert NAMES.pack_one(key, more) == pack((b"EVALSHA", sha, 1, key, *more))
    assert NAMES.pack(["a", "b"], args, []) == pack((b"EVALSHA", sha, 2, "a", "b", *args))
    assert NAMES.pack(["a"], args, ["own"]) == pack((b"EVALSHA", sha, 1, "a", *args, "own"))


async def test_calls_with_other_arguments_do_not_share_a_batch(redis_url: str) -> None:
    client = Client(redis_url)
    calls = (NAMES.run(client, f"k{i}", (str(i % 3),)) for i in range(30))
    assert await asyncio.gather(*calls) == [f"k{i}{i % 3}".encode() for i in range(30)]


async def test_callers_of_a_batch_may_give_up(redis_url: str) -> None:
    client = Client(redis_url)
    await NAMES.run(client, "first", ("!",))
    tasks = [asyncio.create_task(NAMES.run(client, f"k{i}", ("!",))) for i in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [f"k{i}!".encode() for i in range(1, 20, 2)]


async def test_a_batch_that_all_gave_up_is_not_joined(redis_url: str) -> None:
    """It is never written: whoever joined would wait for ever."""
    client = Client(redis_url)
    await NAMES.run(client, "first", ("!",))
    lone = asyncio.create_task(NAMES.run(client, "lone", ("!",)))
    await asyncio.sleep(0)
    lone.cancel()
    await asyncio.gather(lone, return_exceptions=True)
    assert await NAMES.run(client, "next", ("!",)) == b"next!"


async def test_the_error_for_one_key_of_a_batch_is_not_the_others(redis_url: str) -> None:
    script = BatchScript(
        "local found = {} for i, key in ipairs(KEYS) do found[i] = redis.pcall('GET', key) end return found"
    )
    client = Client(redis_url)
    await client.call(b"HSET", "hash", "f", "v")
    await client.call(b"SET", "text", "v")
    for _ in range(2):  # by source, then by hash
        good, bad = await asyncio.gather(
            script.run(client, "text", ()), script.run(client, "hash", ()), return_exceptions=True
        )
        assert good == b"v"
        assert isinstance(bad, ServerError)


async def test_random_cancellations_under_load_mix_up_no_replies(redis_url: str) -> None:
    """Every key holds its own name: a reply that reaches the wrong caller is seen at once."""
    client, chance = Client(redis_url), random.Random(7)
    keys = [f"key-{i}" for i in range(200)]
    await asyncio.gather(*(client.call(b"SET", key, key) for key in keys))
    wrong, cancelled = [], 0

    async def read(key: str) -> None:
        reply = await client.call(b"GET", key)
        if reply != key.encode():
            wrong.append((key, reply))

    for _ in range(100):
        tasks = [asyncio.create_task(read(chance.choice(keys))) for _ in range(100)]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        for task in chance.sample(tasks, 50):
            cancelled += task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not wrong
    assert cancelled > 1000


async def test_a_killed_server_settles_every_caller_and_is_used_again_when_it_is_back(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?reconnect_grace=0.05")
    await client.call(b"SET", "k", "v")
    own_server.pause()
    sent = [asyncio.ensure_future(client.call(b"GET", "k")) for _ in range(500)]
    await eventually(lambda: client.stats()["in_flight"] == 500)
    own_server.kill()
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
    with pytest.raises(NotSent):
        await client.call(b"GET", "k")
    own_server.restart()
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"PING") == b"PONG"


async def test_a_connection_that_the_server_closed_while_idle_is_replaced(redis_url: str) -> None:
    client, killer = Client(redis_url), Client(redis_url)
    number = await client.call(b"CLIENT", "ID")
    await killer.call(b"CLIENT", "KILL", "ID", number)
    for _ in range(100):  # the loop learns of it in one of its next turns
        try:
            assert await client.call(b"CLIENT", "ID") != number
            break
        except OutcomeUnknown:
            pass
    else:
        pytest.fail("no new connection was made")


async def test_the_factory_shows_the_numbers_of_its_client(redis_url: str) -> None:
    factory = redis.factory(f"{redis_url}?client_name=numbers")  # a URL of its own, so a client of its own
    async with factory() as session:
        await session.setex("k", 10, "v")
        await asyncio.gather(*(session.get("k") for _ in range(9)))
    assert factory.stats() == {
        "in_flight": 0,
        "bytes_in_flight": 0,
        "waiting": 0,
        "reconnects": 0,
        "timeouts": 0,
        "redirects": 0,
        "login_renewals": 0,
        "mean_batch": 5.0,  # ten commands in two writes
        "keys_per_script": 0.0,
    }


async def test_keys_per_script(redis_url: str) -> None:
    """Of calls that share a script: those of one turn of the loop, without those that gave up."""
    factory = redis.factory(f"{redis_url}?client_name=keys")
    manager = SessionManager("box", factory, strict=True)
    session_id = await manager.allocate_session()
    assert await manager.validate_session(session_id)
    before = factory.stats()["keys_per_script"]
    calls = [asyncio.ensure_future(manager.validate_session(session_id)) for _ in range(10)]
    asyncio.get_running_loop().call_soon(calls[0].cancel)
    await asyncio.gather(*calls[1:])
    assert (before, factory.stats()["keys_per_script"]) == (1.0, 5.0)  # ten in two scripts


@pytest.mark.parametrize("chosen", [None, "my-id"])
async def test_a_value_over_the_bound_is_refused_before_it_is_sent(redis_url: str, chosen: str | None) -> None:
    """A ValueError that names the option; nothing is stored, and the connection goes on for everybody."""
    factory = redis.factory(f"{redis_url}?max_value_bytes=2048")
    manager = SessionManager("box", factory, strict=True)
    large = "x" * 20_000
    with pytest.raises(ValueError, match=r"over max_value_bytes \(2,048\)"):
        await manager.allocate_session(chosen, "alice", custom_metadata={"a": large})
    assert await manager.list_user_sessions("alice") == []
    session_id = await manager.allocate_session(chosen, "alice", custom_metadata={"a": 1})
    with pytest.raises(ValueError, match="max_value_bytes"):
        await manager.update_session_metadata(session_id, {"a": large})
    async with factory() as values:
        with pytest.raises(ValueError, match="max_value_bytes"):
            await values.setex("key", 60, large)
        assert await values.get("key") is None
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": 1}
    assert factory.stats()["reconnects"] == 0
