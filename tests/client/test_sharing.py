"""Which factories share connections, what the environment has to do with it, and clients that nobody has any more."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import RedisDsn

from chuk_sessions import ProviderError, SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.legacy.store import LegacyReadingStore
from chuk_sessions.providers.redis.sharing import SharedClients
from chuk_sessions.redis_client import client as client_module
from chuk_sessions.redis_client.client import Client
from tests.support.helpers import eventually
from tests.support.servers import RedisServer, Server

URL = "redis://localhost:1"


class Tokens:
    """Makes a password for each of its users."""

    def __init__(self, password: str = "pw") -> None:
        self.password = password

    def login(self) -> str:
        return self.password

    async def other_login(self) -> str:
        return self.password

    def __call__(self) -> str:
        return self.password

    def __eq__(self, other: object) -> bool:
        return True  # what counts is which object it is

    __hash__ = None  # type: ignore[assignment]


def function() -> str:
    return "pw"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> SharedClients:
    """Those of a process in which nothing was asked for yet; three are kept."""
    shared = SharedClients(3)
    monkeypatch.setattr(redis, "_shared", shared)
    return shared


def client_of(*args: Any, **options: Any) -> Client:
    return redis.factory(*args, **options)._client


def test_a_method_of_one_object_is_one_source_of_credentials(shared: SharedClients) -> None:
    """Though each ``tokens.login`` is another method."""
    tokens = Tokens()
    assert tokens.login is not tokens.login
    first = client_of(URL, tokens.login)
    assert client_of(URL, credentials=tokens.login) is first
    others = {
        client_of(URL, Tokens().login),
        client_of(URL, tokens.other_login),
        client_of(URL, tokens),
        client_of(URL, function),
        client_of(URL),
        client_of(f"{URL}?", tokens.login),
    }
    assert len(others | {first}) == 7


def test_a_method_written_in_c(shared: SharedClients) -> None:
    passwords = ["a", "b"]
    assert client_of(URL, passwords.pop) is client_of(URL, passwords.pop)
    assert client_of(URL, passwords.pop) is not client_of(URL, passwords.copy)
    assert client_of(URL, passwords.pop) is not client_of(URL, ["a", "b"].pop)


def test_a_white_space_and_kinds_of_url_share(shared: SharedClients) -> None:
    url = "redis://localhost:1/0"
    assert client_of(url) is client_of(f" {url}\n") is client_of(RedisDsn(url))


@pytest.mark.parametrize("url", [5, b"redis://h", object()])
def test_what_is_no_url_is_a_type_error_at_once(url: Any) -> None:
    with pytest.raises(TypeError, match="must be a str or a URL of pydantic, got"):
        redis.factory(url)


def test_of_clients_that_nobody_holds_only_the_last_are_kept(shared: SharedClients) -> None:
    """So that a new function for each request does not fill the memory; the credentials go with them."""
    held = redis.factory(URL, Tokens("held").login)
    gc.collect()  # what other tests have left
    before = len(client_module._clients)
    for number in range(50):
        redis.factory(URL, Tokens(str(number)).login)
    gc.collect()
    assert len(client_module._clients) - before == 3
    assert len(shared._clients) == 4
    assert held._client in shared._clients.values()
    kept = [client._credentials() for client in shared._kept.values() if client._credentials is not None]
    assert kept == ["47", "48", "49"]


def test_a_client_that_is_asked_for_again_is_kept_longer(shared: SharedClients) -> None:
    tokens = Tokens()
    first = id(client_of(URL, tokens.login))
    for _ in range(10):
        redis.factory(URL, Tokens().login)
        redis.factory(URL, Tokens().login)
        assert id(client_of(URL, tokens.login)) == first


def test_an_object_at_the_place_of_another_has_a_client_of_its_own(shared: SharedClients) -> None:
    """Whose id it has: the old client and its key went with the old object."""
    seen: dict[int, str] = {}
    reused = 0
    for number in range(200):
        tokens = Tokens(str(number))
        reused += id(tokens) in seen
        seen[id(tokens)] = str(number)
        credentials = client_of(URL, tokens.login)._credentials
        assert credentials is not None
        assert credentials() == str(number)
        for _ in range(3):
            redis.factory(URL, function)
            redis.factory(f"{URL}/1")
            redis.factory(f"{URL}/2")
        del tokens, credentials
        gc.collect(0)
    assert reused


def test_a_manager_keeps_its_client(shared: SharedClients) -> None:
    tokens = Tokens()
    manager = SessionManager("box", redis.factory(URL, tokens.login))
    client = id(client_of(URL, tokens.login))
    for _ in range(5):
        redis.factory(URL, Tokens().login)
    gc.collect()
    assert id(client_of(URL, tokens.login)) == client
    assert manager.sandbox_id == "box"


def test_threads_that_ask_at_once_share(shared: SharedClients) -> None:
    tokens, clients = Tokens(), list[Client]()
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        clients.extend(client_of(URL, tokens.login) for _ in range(100))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, clients))) == 1


def test_a_finalizer_may_ask_for_a_client_while_one_is_being_made(shared: SharedClients) -> None:
    """A collection of garbage may come at any moment, also while the lock is held."""
    with shared._lock:
        client = client_of(URL)
    assert client_of(URL) is client


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_another_thread_asks(shared: SharedClients) -> None:
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with shared._lock:
            locked.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            answers: list[Client] = []
            asking = threading.Thread(target=lambda: answers.append(client_of(URL)), daemon=True)
            asking.start()
            asking.join(30)
            status = 0 if answers else 1
        finally:
            os._exit(status)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestEnvironment:
    """It is read when a factory is made, and again when the next one is."""

    def test_insecure_tls(self, shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both before and after the first use of a URL."""

        def verifies(factory: redis.RedisFactory) -> bool:
            tls = factory._client._parsed().tls
            assert tls is not None
            return tls.verify

        url = "rediss://localhost:1"
        before = redis.factory(url)
        monkeypatch.setenv("REDIS_TLS_INSECURE", "1")
        assert verifies(before)
        insecure = redis.factory(url)
        assert not verifies(insecure)
        assert redis.factory(url)._client is insecure._client
        monkeypatch.setenv("REDIS_TLS_INSECURE", "0")
        assert not verifies(insecure)
        assert redis.factory(url)._client is before._client

    def test_a_client_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_TLS_INSECURE", "1")
        client = Client("rediss://localhost:1")
        monkeypatch.delenv("REDIS_TLS_INSECURE")
        tls = client._parsed().tls
        assert tls is not None
        assert not tls.verify

    def test_legacy_sessions(self, shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
        before = redis.factory(URL)
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        after = redis.factory(URL)
        assert not isinstance(before.session_store("box"), LegacyReadingStore)
        assert isinstance(after.session_store("box"), LegacyReadingStore)
        monkeypatch.delenv("SESSION_LEGACY_READ")
        assert isinstance(after.session_store("box"), LegacyReadingStore)
        assert before._client is after._client
        monkeypatch.setenv("SESSION_LEGACY_READ", "perhaps")
        with pytest.raises(ProviderError, match="SESSION_LEGACY_READ must be 1 or 0"):
            redis.factory(URL)

    def test_lifetime_of_values(self, shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
        before = redis.factory(URL)
        monkeypatch.setenv("SESSION_DEFAULT_TTL", "60")
        after = redis.factory(URL)
        assert (before._default_ttl, after._default_ttl) == (3600, 60)
        assert before._client is after._client


@pytest.fixture(scope="module")
def closed() -> Iterator[RedisServer]:
    with RedisServer(password="pw") as server:
        yield server


def connections(server: Server) -> int:
    """Without the one that asks."""
    return len(str(server.command("CLIENT", "LIST")).split("cmd=")) - 2


@pytest.mark.redis
class TestConnections:
    async def test_a_method_for_each_request_is_one_connection(
        self, closed: RedisServer, shared: SharedClients
    ) -> None:
        tokens, ids = Tokens(), set()
        for _ in range(20):
            ids.add(await client_of(closed.url_for(), tokens.login).call(b"CLIENT", "ID"))
        assert len(ids) == 1

    async def test_a_function_for_each_request_leaves_no_connections(
        self, closed: RedisServer, shared: SharedClients
    ) -> None:
        """They close when all that was under way has its reply, while those that are held or kept stay."""
        before = connections(closed)
        url = f"{closed.url_for()}?socket_timeout=0.3"
        held = redis.factory(url, Tokens().login)
        assert await held._client.call(b"PING") == b"PONG"
        for _ in range(20):
            assert await client_of(url, Tokens().login).call(b"PING") == b"PONG"
        gc.collect()
        await eventually(lambda: connections(closed) - before == 4)
        assert await held._client.call(b"PING") == b"PONG"
        assert held.stats()["reconnects"] == 0

    async def test_a_call_under_way_outlives_its_client(self, closed: RedisServer) -> None:
        client = Client(closed.url_for(), Tokens().login)
        assert await client.call(b"PING") == b"PONG"
        answers = [client.call(b"ECHO", "x" * 100_000) for _ in range(100)]
        del client
        gc.collect()
        assert await asyncio.gather(*answers) == [b"x" * 100_000] * 100

    async def test_a_call_of_a_client_without_an_owner_while_the_loop_is_held_up(self, closed: RedisServer) -> None:
        """It has its whole time: the connection is not closed under it."""
        answer = Client(f"{closed.url_for()}?socket_timeout=0.3", Tokens().login).call(b"PING")
        gc.collect()
        await asyncio.sleep(0)  # the loop has heard that nobody has the client
        time.sleep(0.8)  # noqa: ASYNC251 - the fault itself: the application blocks the loop
        assert await answer == b"PONG"

    async def test_a_server_of_a_client_without_an_owner_keeps_it(self, closed: RedisServer) -> None:
        (master,) = await Client(closed.url_for(), Tokens().login).masters()
        before = len(client_module._clients)
        gc.collect()
        assert len(client_module._clients) == before
        assert await master.call(b"PING") == b"PONG"

    def test_a_client_without_an_owner_in_another_thread(self, closed: RedisServer) -> None:
        """Its loop closes the connection, whichever thread lets go of the client last."""
        before = connections(closed)

        async def use() -> None:
            clients = [Client(f"{closed.url_for()}?socket_timeout=0.05", Tokens().login)]
            assert await clients[0].call(b"PING") == b"PONG"
            thread = threading.Thread(target=clients.clear)
            thread.start()
            thread.join()
            gc.collect()
            await eventually(lambda: connections(closed) == before)

        asyncio.run(use())

    def test_a_client_whose_loop_has_ended(self, closed: RedisServer) -> None:
        clients = [Client(closed.url_for(), Tokens().login)]

        async def use() -> bytes:
            answer: bytes = await clients[0].call(b"PING")
            return answer

        assert asyncio.run(use()) == b"PONG"
        clients.clear()
        gc.collect()
