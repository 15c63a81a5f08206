"""Options, marker and fixtures that every test shares: without --redis, no test touches a server."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import hypothesis.strategies
import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.stores.contract import SessionStore, SessionStoreFactory
from chuk_sessions.stores.keyvalue import KeyValueStore
from chuk_sessions.web import loop_thread
from tests.__main__ import TOOLS
from tests.support.cluster_servers import ClusterServers
from tests.support.implementations import PROVIDERS, STORES
from tests.support.sentinel_servers import SentinelServers
from tests.support.servers import ExternalServer, RedisServer, Server, ServerError, find_binary
from tests.support.wire import Wire, forget_direct, hear

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from chuk_sessions.provider import Factory

# A deadline per example measures the machine, not the code; CI repeats the same examples on every run.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)  # by --hypothesis-profile
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


HERE = Path(__file__).parent
SERVERS = {"redis_server", "second_server", "own_server", "calm_sentinels", "calm_cluster"}  # fixtures that start some

VARIABLES = (
    "CHUK_SANDBOX_ID",
    "CHUK_HOST_SANDBOX_ID",
    "SESSION_PROVIDER",
    "SESSION_REDIS_URL",
    "REDIS_URL",
    "REDIS_TLS_INSECURE",
    "SESSION_DEFAULT_TTL",
    "SESSION_LEGACY_READ",
    "SESSION_ENCRYPTION_KEYS",
    "SESSION_ENCRYPTION_WRITE",
    "SESSION_ENCRYPTION_PLAINTEXT",
    "SESSION_ENCRYPTION_PLAIN_FIELDS",
    "SESSION_MEMORY_MAX_ITEMS",
    "PYTEST_XDIST_WORKER",  # a pytest that a test starts is not a worker
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("redis")
    group.addoption("--redis", action="store_true", help="also run the tests that need a Redis server, on our own")
    group.addoption("--faults", action="store_true", help="also the slow tests of faults; implies --redis")
    group.addoption("--redis-url", metavar="URL", help="run them on this server; empties that database")


def wants_redis(config: pytest.Config) -> bool:
    return any(config.getoption(name) for name in ("--redis", "--redis-url", "--faults"))


def make_server(config: pytest.Config) -> Server:
    url: str | None = config.getoption("--redis-url")
    return ExternalServer(url) if url else RedisServer()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tools: tests what the project is made with, not the package")
    config.addinivalue_line("markers", "redis: needs a Redis server; skipped without --redis or --redis-url")
    if config.getoption("--redis-url") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--redis-url is one database, which each test empties: leave -n out")
    if wants_redis(config):
        try:
            make_server(config)
        except (ServerError, ValueError) as error:
            raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str:
    if not wants_redis(config):
        return "redis: not used; pytest --redis runs those tests too"
    return f"redis: {'the given server' if config.getoption('--redis-url') else find_binary()}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from 15,000 tests: it would look at all of them again and again.

    What there is after collecting stays to the end, so that later collections leave it out too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        run_an_example()
        gc.freeze()
        gc.enable()


@hypothesis.settings(max_examples=1, database=None)
@hypothesis.given(hypothesis.strategies.none())
def run_an_example(nothing: None) -> None:
    """The first of a process: there Hypothesis looks for what refers to its random numbers, before that is frozen."""


@pytest.hookimpl(tryfirst=True)  # before pytest applies -m, so that `-m redis` finds what is marked here
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in TOOLS:
            item.add_marker("tools")
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("redis")
        if item.get_closest_marker("redis") and not wants_redis(config):
            item.add_marker(pytest.mark.skip(reason="needs a Redis server: pytest --redis"))
        elif item.get_closest_marker("faults") and not config.getoption("--faults"):
            item.add_marker(pytest.mark.skip(reason="takes longer than a few seconds: pytest --faults"))


@pytest.fixture(scope="session")
def started_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server of this run: the given one, else one of our own. A test that breaks it starts its own."""
    with make_server(request.config) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(started_server: Server) -> Server:
    """The server of this run, under the name that a test file may give to a cluster as well.

    What starts it has another name: pytest gives a fixture the scope of a parametrized one of the same name.
    """
    return started_server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may kill, freeze or change."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def wire(redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Hears every send of this process to the server. Blocking calls get a loop of asyncio: uvloop cannot be heard."""
    monkeypatch.setattr(loop_thread, "_loop_factory", lambda: None)
    return hear(redis_server.port, monkeypatch)


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """A URL whose database is empty when the test begins."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def calm_sentinels() -> Iterator[SentinelServers]:
    """Whose master is never replaced, for the suites that every implementation must pass.

    Not even on a machine so busy that a server is silent for seconds.
    """
    with SentinelServers(down_after_ms=60_000) as group:
        yield group


@pytest.fixture
def sentinel_url(calm_sentinels: SentinelServers) -> str:
    """A URL of Sentinels whose master is empty when the test begins."""
    calm_sentinels.servers[0].flush()
    return calm_sentinels.url


@pytest.fixture(scope="session")
def calm_cluster() -> Iterator[ClusterServers]:
    """Three masters that keep their slots, for the suites that every implementation must pass."""
    with ClusterServers(replicas=0) as group:
        yield group


@pytest.fixture
def cluster_url(calm_cluster: ClusterServers) -> str:
    """A URL of a cluster that is empty when the test begins."""
    for node in calm_cluster.nodes:
        node.flush()
    return calm_cluster.url


@pytest.fixture(scope="session")
def started_sentinels() -> Iterator[SentinelServers]:
    with SentinelServers() as group:
        yield group


@pytest.fixture
def sentinels(started_sentinels: SentinelServers) -> Iterator[SentinelServers]:
    """For a test to break: in good health and empty, whatever the test before did."""
    started_sentinels.flush()
    yield started_sentinels
    started_sentinels.revive()


@pytest.fixture(scope="session")
def started_cluster() -> Iterator[ClusterServers]:
    with ClusterServers() as group:
        yield group


@pytest.fixture
def cluster(started_cluster: ClusterServers) -> Iterator[ClusterServers]:
    """For a test to break: in good health and empty, whatever the test before did."""
    started_cluster.flush()
    yield started_cluster
    started_cluster.revive()


@pytest.fixture(scope="session")
def second_server() -> Iterator[RedisServer]:
    """Another server of our own, for what goes between two."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def target(second_server: RedisServer) -> RedisServer:
    """The second server, empty when the test begins."""
    second_server.flush()
    return second_server


@pytest.fixture
def legacy_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """SESSION_LEGACY_READ is on, and nothing was said about it in this process yet."""
    monkeypatch.setenv("SESSION_LEGACY_READ", "1")
    monkeypatch.setattr("chuk_sessions.providers.redis.legacy.store._told", False)


@pytest.fixture
def open_process(redis_url: str, legacy_read: None) -> Callable[[], SessionManager]:
    """Makes managers of the sandbox `box`; each has a connection of its own, as if it were another process."""
    count = iter(range(1000))

    def make() -> SessionManager:
        from chuk_sessions.providers import redis

        return SessionManager("box", redis.factory(f"{redis_url}?client_name=test-{next(count)}"), strict=True)

    return make


@pytest.fixture(autouse=True)
def loop_thread_ended() -> Iterator[None]:
    """Each test of blocking calls has an event loop and connections of its own, closed after its other fixtures."""
    yield
    try:
        loop_thread._close_at_exit()
    finally:
        forget_direct()


@pytest.fixture(autouse=True)
def fresh_process(loop_thread_ended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of our variables is set, nothing is in the shared store, and neither outlives the test."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is put back even if the code under test sets it
        monkeypatch.delenv(name)
    monkeypatch.setattr(memory, "_shared", None)


@pytest.fixture
def no_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stores are made as on a Python without a GIL."""
    monkeypatch.setattr("chuk_sessions.providers.memory.storage.has_gil", lambda: False)


@pytest.fixture(params=PROVIDERS)
def provider_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of each provider of ours, on an empty store."""
    made: Factory = request.param(request)
    return made


@pytest.fixture(params=STORES)
def store_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of everything that sessions can be kept in, on an empty store."""
    made: Factory = request.param(request)
    return made


@pytest.fixture
def open_sessions(store_factory: Factory) -> Callable[[str], SessionStore]:
    """Opens the sessions of a sandbox; all that it opens share one storage."""

    def open_sandbox(sandbox_id: str) -> SessionStore:
        if isinstance(store_factory, SessionStoreFactory):
            return store_factory.session_store(sandbox_id)
        return KeyValueStore(store_factory, sandbox_id)

    return open_sandbox


@pytest.fixture
def manager_factory(store_factory: Factory) -> Callable[..., SessionManager]:
    """Makes managers that share one storage, of the sandbox `box` unless told otherwise."""

    def make(sandbox_id: str = "box", **options: object) -> SessionManager:
        return SessionManager(sandbox_id, store_factory, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def manager(manager_factory: Callable[..., SessionManager]) -> SessionManager:
    """One manager on each implementation."""
    return manager_factory()
