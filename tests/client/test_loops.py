"""A client belongs to one event loop and one process at a time, and leaves nothing open behind either."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings

import pytest

from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.endings import LOOPS, ends_without_a_word

pytestmark = pytest.mark.redis


def client_id(client: Client) -> int:
    async def ask() -> int:
        return int(await client.call(b"CLIENT", "ID"))

    return asyncio.run(ask())


def test_each_event_loop_has_its_own_connection(redis_url: str) -> None:
    client = Client(redis_url)
    assert client_id(client) != client_id(client)


def test_loops_in_two_threads_work_at_once(redis_url: str) -> None:
    client, results = Client(redis_url), {}

    async def count(name: str) -> int:
        replies = await asyncio.gather(*(client.call(b"INCR", name) for _ in range(2000)))
        return int(max(replies))

    def run(name: str) -> None:
        results[name] = asyncio.run(count(name))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"one": 2000, "two": 2000}


def test_two_loops_used_in_turn_keep_their_connections(redis_url: str) -> None:
    client = Client(redis_url)

    async def ask() -> int:
        return int(await client.call(b"CLIENT", "ID"))

    with asyncio.Runner() as one, asyncio.Runner() as two:
        first, second = one.run(ask()), two.run(ask())
        assert first != second
        assert (one.run(ask()), two.run(ask())) == (first, second)


def test_a_loop_that_was_closed_without_a_shutdown_is_forgotten(redis_url: str) -> None:
    client = Client(redis_url)

    async def ask() -> int:
        return int(await client.call(b"CLIENT", "ID"))

    loop = asyncio.new_event_loop()
    first = loop.run_until_complete(ask())
    loop.close()
    assert client_id(client) != first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # that loop left its transport open, not we
        del loop
        gc.collect()
    assert repr(client).count("<Node") == 1


def test_a_fork_gets_its_own_connection_and_leaves_the_parents_alone(redis_url: str) -> None:
    client = Client(redis_url)

    async def ask() -> int:
        return int(await client.call(b"CLIENT", "ID"))

    with asyncio.Runner() as runner:
        parents = runner.run(ask())
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: the test process may have other threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writer, str(client_id(client)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            childs = int(pipe.read())
        assert os.waitpid(child, 0)[1] == 0
        assert childs != parents
        assert runner.run(ask()) == parents


SHUTDOWN = """
    from chuk_sessions import SessionManager
    from chuk_sessions.providers.redis import factory

    async def main():
        manager = SessionManager("app", factory(url), strict=True)
        session_id = await manager.allocate_session(user_id="alice")
        pending = [asyncio.create_task(manager.validate_session(session_id)) for _ in range(100)]
        await asyncio.sleep(0)  # they are in flight when the loop ends

    run(main())
    gc.collect()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_ends_with_commands_in_flight_ends_without_a_word(redis_url: str, loop: str) -> None:
    ends_without_a_word(SHUTDOWN, redis_url, loop)


async def test_factories_of_one_url_share_a_connection(redis_url: str) -> None:
    async def ask() -> int:
        async with redis.factory(redis_url)() as session:
            return int(await session._call(b"CLIENT", "ID"))

    assert await ask() == await ask()
