"""Nothing that an operator sees tells who uses the application, nor lets anybody in: through all calls and faults.

The canaries are the ids of sessions, users, names and values of metadata, and passwords. They are looked for in
metrics, spans, events, log lines of every level, exceptions with their causes and tracebacks, and representations of
objects. Only an error about a field of metadata names the field, to the caller who gave it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.exceptions import SessionError
from chuk_sessions.ids import session_key
from chuk_sessions.providers import memory, redis
from chuk_sessions.redis_client.link import MAX_PAUSE
from tests.support import custom_provider
from tests.support.asgi import Browser, application
from tests.support.cluster_servers import ClusterServers, slot_of
from tests.support.helpers import eventually
from tests.support.loading import LOAD_SECONDS, fill, loading, slowly
from tests.support.proxy import Proxy
from tests.support.sentinel_servers import SentinelServers
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from chuk_sessions import SessionManager


pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed")
from tests.support.canaries import CANARIES, COOKIE, FIELD, ID, LOGIN, METADATA, PASSWORD, USER, VALUE, Watch


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    """What was told in the end has no canary, whatever the test did."""
    caplog.set_level(logging.DEBUG)
    watch = Watch()
    yield watch
    told = [*watch.told(), caplog.text, *(repr(vars(record)) for record in caplog.records)]
    watch.provider.shutdown()
    for canary in CANARIES:
        assert [text for text in told if canary in text] == []


async def test_in_memory_and_on_a_provider_of_ones_own(watch: Watch) -> None:
    """Refused arguments and all."""
    for factory in (memory.factory(memory.MemoryStore()), custom_provider.factory()):
        await watch.calls(watch.manager(factory))
    assert {"MetadataError", "OversizedError", "NotSupportedError", "SessionTakenError"} <= watch.outcomes


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer("maxmemory-policy noeviction", users={LOGIN: PASSWORD}) as server:
        yield server


@asynccontextmanager
async def full(server: RedisServer) -> AsyncIterator[None]:
    server.command("CONFIG", "SET", "maxmemory", "1")
    yield
    server.command("CONFIG", "SET", "maxmemory", "0")


@asynccontextmanager
async def demoted(server: RedisServer) -> AsyncIterator[None]:
    """A replica takes no writes."""
    server.command("REPLICAOF", "127.0.0.1", "1")
    yield
    server.command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def forbidden(server: RedisServer) -> AsyncIterator[None]:
    """The user may do next to nothing: the server's words then name commands, and on some servers keys."""
    server.command("ACL", "SETUSER", LOGIN, "-@all", "+ping")
    yield
    server.command("ACL", "SETUSER", LOGIN, "+@all")


@asynccontextmanager
async def other_keys(server: RedisServer) -> AsyncIterator[None]:
    server.command("ACL", "SETUSER", LOGIN, "resetkeys", "~nothing")
    yield
    server.command("ACL", "SETUSER", LOGIN, "~*")


@asynccontextmanager
async def wrong_type(server: RedisServer) -> AsyncIterator[None]:
    """The key of the session holds a text."""
    key = session_key("box", ID)
    server.command("SET", key, VALUE)
    yield
    server.command("DEL", key)


@asynccontextmanager
async def unreadable(server: RedisServer) -> AsyncIterator[None]:
    """A record of a version to come."""
    key = session_key("box", ID)
    server.command("DEL", key)
    server.command("HSET", key, "v", "9", "user", USER)
    yield
    server.command("DEL", key)


@asynccontextmanager
async def paused(server: RedisServer) -> AsyncIterator[None]:
    """It answers nothing: after a timeout the outcome of what was sent is unknown."""
    server.pause()
    yield
    server.resume()
    server.command("CLIENT", "UNPAUSE")  # see `writes_held`


@asynccontextmanager
async def killed(server: RedisServer) -> AsyncIterator[None]:
    server.kill()
    yield
    server.restart()


async def writes_held(watch: Watch, server: RedisServer, manager: SessionManager) -> asyncio.Task[set[str]]:
    """Calls whose writes are sent, and held by the server: if it is silent from now on, their outcome is unknown.

    A server that only falls silent may leave no doubt: over a connection that was quiet for a second, nothing is sent
    before a PING is answered, and without an answer it was not sent for sure.
    """
    calls: asyncio.Task[set[str]] | None = None

    async def is_held() -> bool:
        nonlocal calls
        if calls is None or calls.done():  # over before we looked: the machine was busy for a timeout
            server.commands(("CLIENT", "UNPAUSE"), ("CLIENT", "PAUSE", "60000", "WRITE"))
            calls = asyncio.create_task(watch.calls(manager))
        clients = str(server.command("CLIENT", "LIST")).splitlines()
        return any(" flags=b " in client and " cmd=evalsha " in client for client in clients)

    await eventually(is_held, patience=60)
    assert calls is not None
    return calls


REFUSALS = (full, demoted, forbidden, other_keys, wrong_type, unreadable)
OPTIONS = "?socket_timeout=0.5&reconnect_grace=0.05"


@pytest.mark.redis
async def test_on_a_server_with_faults(watch: Watch, server: RedisServer) -> None:
    """Each call in each fault: refusals of the server, silence, a crash."""
    factory = redis.factory(server.url_for(LOGIN, PASSWORD) + OPTIONS, timings=True)
    strict, mild = watch.manager(factory), watch.manager(factory, strict=False)
    await watch.calls(strict)
    for refusal in REFUSALS:
        async with refusal(server):
            await watch.calls(strict, mild)
        await eventually(lambda: _is_up(factory))
    for silence in (paused, killed):
        held = await writes_held(watch, server, strict)
        async with silence(server):
            await watch.calls(strict, mild)
            assert "OutcomeUnknown" in await held
            assert "NotSent" in await watch.calls(strict, mild)  # the first ones found out
        await eventually(lambda: _is_up(factory))
    await watch.calls(strict)
    kinds = {"NotSent", "OutcomeUnknown", "OutOfMemoryError", "ReadOnlyError", "NoPermissionError", "SessionTakenError"}
    assert kinds <= watch.outcomes
    told = "".join(watch.told())
    assert all(word in told for word in ("EVALSHA touch", "session_ref", 'kind="out_of_memory"', "error.type"))


@pytest.mark.redis
async def test_on_a_server_that_loads(watch: Watch) -> None:
    """From its disk after a crash, so that no connection can be had; from its master, on one that is well."""
    users = {LOGIN: PASSWORD}
    with RedisServer("rdbcompression no", "repl-diskless-sync-delay 0", users=users) as server:
        fill(server)
        factory = redis.factory(server.url_for(LOGIN, PASSWORD) + OPTIONS)
        managers = watch.manager(factory), watch.manager(factory, strict=False)
        await watch.calls(*managers)

        async with loading(server, 2 * MAX_PAUSE):  # an attempt to connect falls into it for sure
            await eventually(lambda: _is_told(managers[0], "LOADING"))
            await watch.calls(*managers)
        assert {"NotSent", "LOADING"} <= watch.outcomes
        with RedisServer(slowly(LOAD_SECONDS), "repl-diskless-load disabled", users=users) as replica:
            factory = redis.factory(replica.url_for(LOGIN, PASSWORD) + OPTIONS)
            managers = watch.manager(factory), watch.manager(factory, strict=False)
            await watch.calls(*managers)
            replica.command("REPLICAOF", server.host, str(server.port))
            await eventually(lambda: _is_told(managers[0], "LOADING"))
            await watch.calls(*managers)
    assert re.search(r'kind="loading"[^}]*\} [1-9]', "".join(watch.told()))


async def _is_told(manager: SessionManager, words: str) -> bool:
    """Whether the manager's storage fails with these words of the server."""
    try:
        await manager.validate_session(ID)
    except SessionError as error:
        return words in str(error.__cause__)
    return False


@pytest.mark.slow
@pytest.mark.redis
async def test_on_sentinels(watch: Watch) -> None:
    """Wrong logins, to the Sentinels and to the servers; a failover by order, one by accident, and nobody is left."""
    with SentinelServers(users={LOGIN: PASSWORD}, sentinel_password=f"{PASSWORD}-of-sentinels") as group:
        options = OPTIONS.replace("?", "&")
        factory = redis.factory(group.url + options, timings=True)
        strict, mild = watch.manager(factory), watch.manager(factory, strict=False)
        await watch.calls(strict)
        for wrong in (group.url_for(LOGIN, f"{PASSWORD}-2"), group.url.replace("-of-sentinels", "-2")):
            await watch.calls(watch.manager(redis.factory(wrong + options)))
        await asyncio.to_thread(group.failover)
        await watch.calls(strict, mild)
        await eventually(lambda: _is_up(factory))
        old = group.master
        held = await writes_held(watch, old, strict)
        old.pause()
        await watch.calls(strict, mild)
        assert "OutcomeUnknown" in await held
        await asyncio.to_thread(group.wait_for_promotion, old)
        await eventually(lambda: _is_up(factory))
        await watch.calls(strict)
        for member in group.members:
            member.kill()
        await watch.calls(strict, mild)
        assert "NotSent" in await watch.calls(strict, mild)
    assert "SessionTakenError" in watch.outcomes


@asynccontextmanager
async def half_moved(cluster: ClusterServers, slot: int) -> AsyncIterator[None]:
    """The slot is on its way to another node, which answers for what has arrived: ASK and TRYAGAIN."""
    target = cluster.another_master(slot)
    await asyncio.to_thread(cluster.migrate_begin, slot, target)
    yield
    await asyncio.to_thread(cluster.migrate_keys, slot, target)
    await asyncio.to_thread(cluster.migrate_end, slot, target)  # from here on MOVED


@asynccontextmanager
async def unserved(cluster: ClusterServers, slot: int) -> AsyncIterator[None]:
    """Nobody has the slot: CLUSTERDOWN."""
    owner = cluster.owner_of(slot)
    owner.command("CLUSTER", "DELSLOTS", str(slot))
    yield
    owner.command("CLUSTER", "ADDSLOTS", str(slot))


@pytest.mark.slow
@pytest.mark.redis
async def test_on_a_cluster(watch: Watch) -> None:
    """A slot that moves, that nobody has, and whose node is frozen, or dead; and a wrong login."""
    slot = slot_of(session_key("box", ID))
    with ClusterServers(users={LOGIN: PASSWORD}, replicas=0) as cluster:
        factory = redis.factory(cluster.url + OPTIONS, timings=True)
        strict, mild = watch.manager(factory), watch.manager(factory, strict=False)
        await watch.calls(strict)
        await watch.calls(watch.manager(redis.factory(cluster.url_for(LOGIN, f"{PASSWORD}-2") + OPTIONS)))
        for fault, code in ((half_moved, "TRYAGAIN"), (unserved, "CLUSTERDOWN")):

            async def is_told() -> bool:
                await watch.calls(strict, mild)
                return f"last it said: {code} " in "".join(watch.told())  # noqa: B023 - of this round

            async with fault(cluster, slot):
                await eventually(is_told, patience=60)
            await asyncio.to_thread(cluster.wait_until_ok)
            await eventually(lambda: _is_up(factory))
        for silence in (paused, killed):
            owner = cluster.owner_of(slot)
            held = await writes_held(watch, owner, strict)
            async with silence(owner):
                await watch.calls(strict, mild)
                assert "OutcomeUnknown" in await held
                assert "NotSent" in await watch.calls(strict, mild)
            await asyncio.to_thread(cluster.wait_until_ok)
            await eventually(lambda: _is_up(factory))
        await watch.calls(strict)
        assert factory.stats()["redirects"] > 0
    assert "SessionTakenError" in watch.outcomes


@pytest.mark.redis
async def test_with_a_near_cache(watch: Watch, server: RedisServer) -> None:
    """That serves, is told of changes, and loses its server."""
    factory = redis.factory(server.url_for(LOGIN, PASSWORD) + OPTIONS)
    manager = watch.manager(factory, near_cache=1, touch_interval=60)

    async def serves() -> bool:
        with suppress(SessionError):
            hits = factory.stats()["near_hits"]
            if not await manager.validate_session(ID):
                await manager.allocate_session(ID, USER, custom_metadata=METADATA)
            return factory.stats()["near_hits"] > hits
        return False

    async def is_off() -> bool:
        await watch.calls(manager)
        return factory.stats()["near_state"] == 0

    for fault in (paused, killed):
        await eventually(serves)
        await watch.calls(manager)
        async with fault(server):
            await watch.calls(manager)
    await eventually(serves)
    async with forbidden(server):
        await eventually(is_off)


def _is_up(factory: Any) -> bool:
    return all(stats.state == "up" for stats in factory.server_stats().values())


@pytest.mark.redis
async def test_on_a_bad_network(watch: Watch, server: RedisServer) -> None:
    """Connections that are cut amid replies, replies that are none, and callers that give up."""
    async with Proxy(server.host, server.port) as proxy:
        address = proxy.url.removeprefix("redis://")
        manager = watch.manager(redis.factory(f"redis://{LOGIN}:{PASSWORD}@{address}{OPTIONS}"))
        await watch.calls(manager)
        for garbage in (b"", b"!nonsense\r\n"):
            proxy.passing, proxy.garbage = 3, garbage
            await watch.calls(manager)
            proxy.passing = None
            await eventually(lambda: _is_up(manager.session_factory))
        proxy.holding = True
        task = asyncio.create_task(watch.calls(manager))
        await eventually(lambda: manager.session_factory.stats()["in_flight"] > 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.redis
async def test_logins_that_fail(watch: Watch, server: RedisServer) -> None:
    """A wrong password, a user that does not exist, and a function that raises or returns nonsense."""

    def raising() -> str:
        raise ValueError("the vault is sealed")

    def nonsense() -> Any:
        return {LOGIN: PASSWORD}

    wrong = server.url_for(LOGIN, f"{PASSWORD}-2"), server.url_for("nobody", PASSWORD)
    factories = [redis.factory(url + OPTIONS) for url in wrong]
    factories += [redis.factory(server.url + OPTIONS, credentials) for credentials in (raising, nonsense)]
    for factory in factories:
        await watch.calls(watch.manager(factory))
    assert "NotSent" in watch.outcomes


@pytest.mark.redis
async def test_in_a_web_application(watch: Watch, server: RedisServer) -> None:
    """A request whose session cannot be read: the log says so without its cookie."""
    from chuk_sessions.web import SessionMiddleware

    manager = watch.manager(redis.factory(server.url_for(LOGIN, PASSWORD) + OPTIONS), opaque_ids=True)

    async def index(session: Any, scope: Any) -> str:
        session[FIELD] = VALUE
        return "ok"

    browser = Browser(SessionMiddleware(application(index=index), manager))
    assert (await browser.get("/")).status == 200
    (name,) = browser.cookies
    browser.cookies[name] = COOKIE
    async with killed(server):
        with watch.tracer.start_as_current_span("request"):
            assert (await browser.get("/")).status == 503
