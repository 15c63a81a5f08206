"""Servers that answer what no server should, or come and go; and an application that holds up its loop meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import hiredis
import pytest

from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.limited_log import MAX_LINES
from tests.support.helpers import eventually
from tests.support.listening import listening

Answer = Callable[[list[bytes]], bytes]


@asynccontextmanager
async def server(answer: Answer, hang_up_after: bytes = b"") -> AsyncIterator[int]:
    """The port of a server that gives ``answer`` to each command; PING is answered for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while args := parser.gets():
                writer.write(b"+PONG\r\n" if args[0] == b"PING" else answer(args))
                if args[0] == hang_up_after:
                    writer.close()

    async with listening(serve) as address:
        yield int(address.partition(":")[2])


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def naming(port: int) -> bytes:
    """A Sentinel's answer: the master is there."""
    return b"*2\r\n" + bulk(b"127.0.0.1") + bulk(b"%d" % port)


def owning(port: int) -> bytes:
    """An answer to CLUSTER SLOTS: that server has all of them."""
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n" + bulk(b"127.0.0.1") + b":%d\r\n" % port


def role(name: bytes) -> Answer:
    return lambda args: b"*1\r\n" + bulk(name) if args[0] == b"ROLE" else b"+OK\r\n"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Client]:
    """Closed at the end, so that the server hears of it before its loop ends."""
    client = Client(url)
    try:
        yield client
    finally:
        await client.deployment().close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"*2\r\n$1\r\nh\r\n$4\r\nport\r\n",
        b"*2\r\n$1\r\n\xff\r\n$1\r\n1\r\n",
        b"*1\r\n$1\r\nh\r\n",
    ],
)
async def test_a_sentinel_that_answers_nonsense_does_not_hide_the_others(nonsense: bytes) -> None:
    async with (
        server(role(b"master")) as master,
        server(lambda _: nonsense) as odd,
        server(lambda _: naming(master)) as good,
        opened(f"redis://127.0.0.1:{odd},127.0.0.1:{good}/mymaster") as client,
    ):
        assert await client.call(b"SET", "k", "v") == b"OK"


@pytest.mark.parametrize("odd_role", [b"*0\r\n", b"+master\r\n", b"*1\r\n:1\r\n"])
async def test_a_server_whose_role_is_nonsense_is_no_master(odd_role: bytes) -> None:
    async with (
        server(role(b"master")) as master,
        server(lambda _: odd_role) as odd,
        server(lambda _: naming(odd)) as wrong,
        server(lambda _: naming(master)) as good,
        opened(f"redis://127.0.0.1:{wrong},127.0.0.1:{good}/mymaster") as client,
    ):
        assert await client.call(b"SET", "k", "v") == b"OK"


@pytest.mark.parametrize(
    "nonsense", [b"+OK\r\n", b"*1\r\n*3\r\n,inf\r\n:1\r\n*0\r\n", b"*1\r\n*2\r\n+a\r\n+b\r\n", b"*0\r\n"]
)
async def test_a_seed_that_tells_odd_slots_does_not_hide_the_others(nonsense: bytes) -> None:
    async with (
        server(lambda _: nonsense) as odd,
        server(lambda args: owning(good) if args[0] == b"CLUSTER" else b"+OK\r\n") as good,
    ):
        for _ in range(5):  # whichever is asked first
            async with opened(f"redis://127.0.0.1:{odd},127.0.0.1:{good}") as client:
                assert await client.call(b"SET", "k", "v") == b"OK"


async def test_an_isolated_server_that_claims_all_slots_is_asked_last() -> None:
    """Its map is the reason why nothing works there; another seed has the right one."""
    async with (
        server(lambda args: owning(lone) if args[0] == b"CLUSTER" else b"-CLUSTERDOWN The cluster is down\r\n") as lone,
        server(lambda args: owning(good) if args[0] == b"CLUSTER" else b"+OK\r\n") as good,
    ):
        for _ in range(5):  # whichever is asked first
            async with opened(f"redis://127.0.0.1:{lone},127.0.0.1:{good}") as client:
                assert await client.call(b"SET", "k", "v") == b"OK"


@pytest.mark.slow
async def test_a_server_that_hangs_up_after_each_login_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        server(lambda _: b"+OK\r\n", hang_up_after=b"PING") as port,
        opened(f"redis://127.0.0.1:{port}") as client,
    ):

        async def has_come_and_gone() -> bool:
            with suppress(ProviderError):
                await client.call(b"GET", "k", replay=Replay.READ)
            return client.stats()["reconnects"] > MAX_LINES

        await eventually(has_come_and_gone, patience=30)
    lines = [record for record in caplog.records if record.name.startswith("chuk_sessions")]
    assert len(lines) == MAX_LINES


@pytest.mark.redis
@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize("kind", ["redis_url", "cluster_url", "sentinel_url"])
async def test_an_application_that_blocks_after_its_first_call_is_not_told_of_an_outage(
    request: pytest.FixtureRequest, kind: str, turns: int
) -> None:
    """It imports something large, say: the server has answered all the while."""
    client = Client(request.getfixturevalue(kind))
    call = client.call(b"SET", "k", "v")
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    time.sleep(1.6)  # noqa: ASYNC251 - the fault itself
    assert await call == b"OK"


async def test_a_password_from_a_function_that_cannot_be_encoded() -> None:
    async with server(lambda _: b"+OK\r\n") as port:
        client = Client(f"redis://127.0.0.1:{port}", lambda: "pw\ud800")
        with pytest.raises(NotSent, match="credentials callable returned what cannot be encoded") as caught:
            await client.call(b"GET", "k")
        assert "pw" not in str(caught.value)
        await client.deployment().close()


def test_credentials_that_are_no_function() -> None:
    with pytest.raises(TypeError, match="must be a function"):
        redis.factory("redis://localhost", ["secret"])  # type: ignore[arg-type]


def test_credentials_that_cannot_be_hashed_are_shared_by_identity() -> None:
    class Login:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> str:
            return "token"

    login = Login()
    one, two = (redis.factory("redis://unhashable", login) for _ in range(2))
    assert one._client is two._client


@pytest.mark.redis
async def test_a_url_of_one_server_that_is_part_of_a_cluster(cluster_url: str) -> None:
    client = Client(cluster_url.split(",")[0])
    outcomes = await asyncio.gather(*(client.call(b"GET", f"k{i}") for i in range(20)), return_exceptions=True)
    assert "add cluster=true to the Redis URL" in str(outcomes)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ServerError)} == {"MOVED"}


@pytest.mark.redis
async def test_a_url_of_several_servers_that_are_no_cluster_or_no_sentinels(redis_url: str) -> None:
    host = redis_url.removesuffix("/0")
    with pytest.raises(NotSent, match="several hosts without a name mean a cluster"):
        await Client(f"{host},{host.removeprefix('redis://')}").call(b"GET", "k")
    with pytest.raises(NotSent, match="a name in the path of the Redis URL means Sentinel"):
        await Client(f"{host}/mymaster").call(b"GET", "k")


async def test_a_server_that_hangs_up_on_a_client_without_tls() -> None:
    async with server(lambda _: b"", hang_up_after=b"AUTH") as port:
        client = Client(f"redis://:pw@127.0.0.1:{port}")
        with pytest.raises(NotSent, match="if that port speaks TLS, the URL must begin with rediss://") as caught:
            await client.call(b"GET", "k")
        assert str(caught.value).count(str(port)) == 1
        await client.deployment().close()
