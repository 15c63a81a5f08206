"""Names with several addresses, of which some are dead, and names that nobody resolves.

The resolver alone is a stand-in, as there is no DNS to break here: the servers, alive and dead, are on 127.0.0.x.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.exceptions import NotSent
from chuk_sessions.redis_client import names
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.dial import open_connection
from chuk_sessions.redis_client.url import parse_url
from tests.support.helpers import eventually, time_passes, wait_until
from tests.support.lateness import Lateness
from tests.support.servers import RedisServer
from tests.support.tls_files import make_tls_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine"),
]
ALIVE = "127.0.0.1"
REFUSES = "127.0.0.8"
NAME = "redis.test"


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """A loop of each kind."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=import_module(request.param).new_event_loop) as opened:
        yield opened


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, list[str]]], None]:
    """Names that are given here have these addresses; others are the system's."""
    real = socket.getaddrinfo

    def install(known: Mapping[str, list[str]]) -> None:
        def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
            addresses = known.get(host, [host])
            return [row for address in addresses for row in real(address, port, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return install


@contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """Takes no connection, and does not refuse one: its queue is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((address, port))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect((address, port))
        yield


@contextmanager
def hanging(address: str, port: int) -> Iterator[None]:
    """Takes connections and never answers, as a stopped process does."""
    with socket.create_server((address, port), backlog=50):
        yield


async def ping(url: str) -> bytes:
    client = Client(url)
    try:
        reply: bytes = await client.call(b"PING")
    finally:
        await client.deployment().close()
    return reply


@pytest.mark.parametrize("dead", ["silent", "hanging", "refuses"])
@pytest.mark.parametrize("order", ["first", "second"])
def test_a_dead_address_does_not_keep_the_others_from_being_tried(
    own_server: RedisServer,
    resolve: Callable[[Mapping[str, list[str]]], None],
    runner: asyncio.Runner,
    dead: str,
    order: str,
) -> None:
    addresses = [REFUSES, ALIVE] if order == "first" else [ALIVE, REFUSES]
    resolve({NAME: addresses})
    how = {"silent": silent, "hanging": hanging}.get(dead)

    async def main() -> None:
        with Lateness() as lateness:
            begun = time.monotonic()
            assert await ping(f"redis://{NAME}:{own_server.port}") == b"PONG"
            assert time.monotonic() - begun < lateness.allow(2)

    with how(REFUSES, own_server.port) if how else ExitStack():
        runner.run(main())


def test_the_error_names_the_addresses(
    own_server: RedisServer, resolve: Callable[[Mapping[str, list[str]]], None], runner: asyncio.Runner
) -> None:
    own_server.kill()
    resolve({NAME: [REFUSES, ALIVE], "alone.test": [REFUSES]})
    url = f"redis://{NAME}:{own_server.port}?socket_connect_timeout=0.6"
    with pytest.raises(NotSent, match=rf"{NAME}:\d+: .*refused \({REFUSES}: .*refused; {ALIVE}: .*refused\)"):
        runner.run(ping(url))
    with silent(REFUSES, own_server.port):
        with pytest.raises(NotSent, match=rf"no answer within 0\.6 s \({REFUSES}: no answer; {ALIVE}: .*refused\)"):
            runner.run(ping(url))
        with pytest.raises(NotSent, match=rf"alone.test:\d+: no answer within 0\.6 s \(at {REFUSES}\)"):
            runner.run(ping(url.replace(NAME, "alone.test")))


def test_of_many_addresses_one_connection_is_left(
    own_server: RedisServer, resolve: Callable[[Mapping[str, list[str]]], None], runner: asyncio.Runner
) -> None:
    """The server has several, answers late, and is asked at each."""
    resolve({NAME: [ALIVE, ALIVE.replace(".1", ".2"), "127.0.0.3"]})
    own_server.command("CONFIG", "SET", "bind", "0.0.0.0")

    async def main() -> None:
        own_server.pause()
        client = Client(f"redis://{NAME}:{own_server.port}?client_name=several")
        call = client.call(b"PING")
        await time_passes(1.3)
        own_server.resume()
        assert await call == b"PONG"
        await eventually(lambda: str(own_server.command("CLIENT", "LIST")).count("name=several") == 1)
        await client.deployment().close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    runner.run(main())


def test_whoever_gives_up_while_the_others_are_ended_leaves_no_connection(
    own_server: RedisServer, resolve: Callable[[Mapping[str, list[str]]], None], runner: asyncio.Runner
) -> None:
    """One has succeeded, and another takes its time to end."""
    resolve({NAME: [ALIVE, "127.0.0.2"]})
    own_server.command("CONFIG", "SET", "bind", "0.0.0.0")
    logins = 0

    async def main() -> None:
        ending, go_on = asyncio.Event(), asyncio.Event()

        async def log_in() -> tuple[str, str]:
            nonlocal logins
            logins += 1
            if logins == 1:
                try:
                    await asyncio.sleep(30)
                finally:
                    ending.set()
                    await go_on.wait()
            return "app", "password"

        own_server.command("ACL", "SETUSER", "app", "on", ">password", "+@all")
        config = parse_url(f"redis://{NAME}:{own_server.port}?client_name=several", log_in)
        connecting = asyncio.ensure_future(open_connection(config, asyncio.get_running_loop(), lambda *_: None))
        await ending.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        go_on.set()
        await eventually(lambda: "name=several" not in str(own_server.command("CLIENT", "LIST")))
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    runner.run(main())


def test_tls_by_a_name_with_a_dead_address(
    tmp_path: Path, resolve: Callable[[Mapping[str, list[str]]], None], runner: asyncio.Runner
) -> None:
    """The certificate is compared with the name, not with the address."""
    files = make_tls_files(tmp_path, ask_clients=False)
    resolve({"localhost": [REFUSES, ALIVE]})
    with RedisServer(tls=files) as server, silent(REFUSES, server.port):
        url = f"rediss://localhost:{server.port}?{files.query}&socket_connect_timeout=2"
        with pytest.raises(NotSent, match="not valid for 'localhost'"):  # it is for 127.0.0.1
            runner.run(ping(url))
        assert runner.run(ping(f"{url}&ssl_check_hostname=false")) == b"PONG"


class Outage:
    """A resolver that does not answer, until it is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: list[str] = []
        self.known = ""  # a name that it answers all the same
        self.real = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host == self.known:
            return self.real(ALIVE, port, *args, **options)
        self.asked.append(host)
        self.over.wait(30)
        return self.real(ALIVE, port, *args, **options)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    outage = Outage()
    monkeypatch.setattr(socket, "getaddrinfo", outage.getaddrinfo)
    yield outage
    outage.over.set()
    wait_until(lambda: not resolving())


def resolving() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == names.THREAD_NAME]


def test_names_are_resolved_by_threads_of_our_own(
    own_server: RedisServer, outage: Outage, runner: asyncio.Runner
) -> None:
    """One for a name, however often and from wherever it is asked for; none of the loop's is needed or used."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(1)
        loop.set_default_executor(executor)
        busy = threading.Event()
        taken = loop.run_in_executor(None, busy.wait)
        urls = [f"redis://a.test,b.test,c.test/mymaster?socket_connect_timeout=0.1&client_name={i}" for i in range(5)]
        for url in urls:
            with pytest.raises(NotSent, match=r"the name was not resolved within 0\.1 s"):
                await ping(url)
        assert sorted(outage.asked) == ["a.test", "b.test", "c.test"]
        assert len(resolving()) == 3
        client = Client(f"redis://a.test:{own_server.port}")
        call = client.call(b"PING")
        assert await ping(f"redis://{ALIVE}:{own_server.port}") == b"PONG"  # an address needs no resolver
        outage.over.set()
        assert await call == b"PONG"
        await client.deployment().close()
        busy.set()
        await taken

    runner.run(main())


async def test_no_more_threads_than_allowed(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PATIENCE", 60)
    asking = [asyncio.ensure_future(names.addresses_of(f"{i}.test", i + 1)) for i in range(3 * names.MAX_THREADS)]
    await eventually(lambda: len(outage.asked) == names.MAX_THREADS)
    assert len(resolving()) == names.MAX_THREADS
    outage.over.set()
    found = await asyncio.gather(*asking)
    assert [places[0][2] for places in found] == [(ALIVE, i + 1) for i in range(3 * names.MAX_THREADS)]
    assert len(outage.asked) == 3 * names.MAX_THREADS


async def test_names_that_are_not_answered_do_not_keep_others_waiting(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for as long as they are not answered; but there is an end to the threads."""
    monkeypatch.setattr(names, "PATIENCE", 0.05)
    monkeypatch.setattr(names, "MOST_THREADS", 2 * names.MAX_THREADS)
    asking = [asyncio.ensure_future(names.addresses_of(f"{i}.test", 1)) for i in range(names.MAX_THREADS)]
    await eventually(lambda: len(outage.asked) == names.MAX_THREADS)
    outage.known = "known.test"
    for _ in range(3):  # the thread that was added serves the next one, too
        assert (await names.addresses_of("known.test", 1))[0][2] == (ALIVE, 1)
    assert not any(each.done() for each in asking)
    asking += [asyncio.ensure_future(names.addresses_of(f"{i}.test", 2)) for i in range(3 * names.MAX_THREADS)]
    await eventually(lambda: len(resolving()) == names.MOST_THREADS)
    await time_passes(0.2)
    assert len(resolving()) == names.MOST_THREADS
    outage.over.set()
    assert len(await asyncio.gather(*asking)) == 4 * names.MAX_THREADS


async def test_a_name_that_does_not_exist_is_everybodys_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NotSent, match=r"no\.test:6379: Name or service not known$"):
        await Client("redis://no.test").call(b"PING")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address_is_no_name(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    places = await names.addresses_of(address, 6379)
    assert [place[2][:2] for place in places] == [(address, 6379)]


async def test_both_families_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    v4, v6 = socket.AF_INET, socket.AF_INET6
    rows = [(v6, "::1"), (v6, "::2"), (v6, "::1"), (v4, "1.1.1.1"), (v6, "::3"), (v4, "1.1.1.2")]
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 1)) for family, address in rows]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    places = await names.addresses_of("both.test", 1)
    assert [place[2][0] for place in places] == ["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"]
