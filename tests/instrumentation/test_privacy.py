"""Nothing that an operator sees tells who uses the application, nor lets anybody in: through all calls and faults.

The canaries are the ids of sessions, users, names and values of metadata, and passwords. They are looked for in
metrics, spans, events, log lines of every level, exceptions with their causes and tracebacks, and representations of
objects. Only an error about a field of metadata names the field, to the caller who gave it.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.ids import session_key
from chuk_sessions.instrumentation import SessionEvents, SessionMetrics
from chuk_sessions.providers import memory, redis
from tests.support import custom_provider
from tests.support.asgi import Browser, application
from tests.support.helpers import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

prometheus_client = pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed")
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from chuk_sessions.instrumentation import otel  # noqa: E402
from chuk_sessions.instrumentation.prometheus import SessionCollector  # noqa: E402

ID, USER, FIELD, VALUE, PASSWORD = "canary-id", "canary-user", "canary-field", "canary-value", "canary-password"
COOKIE = "sess-" + "ca" * 19  # the form of an opaque id
CANARIES = (ID, USER, FIELD, VALUE, PASSWORD, COOKIE)
METADATA = {FIELD: VALUE}
LOGIN = "login"

Call = Any
CALLS: dict[str, Callable[[SessionManager], Awaitable[Any]]] = {
    "allocate": lambda manager: manager.allocate_session(ID, USER, custom_metadata=METADATA),
    "allocate another's": lambda manager: manager.allocate_session(ID, f"{USER}-2"),
    "allocate some": lambda manager: manager.allocate_sessions([{"user_id": USER, "custom_metadata": METADATA}, {}]),
    "allocate with nonsense": lambda manager: manager.allocate_session(ID, USER, custom_metadata={FIELD: {VALUE}}),
    "allocate too long": lambda manager: manager.allocate_session(ID * 1000, USER),
    "allocate a path": lambda manager: manager.allocate_session(f"{ID}/{ID}", USER),
    "validate": lambda manager: manager.validate_session(ID),
    "validate some": lambda manager: manager.validate_sessions([ID, ID * 1000, f"{ID}-2"]),
    "open": lambda manager: manager.open_session(ID, owner=USER),
    "info": lambda manager: manager.get_session_info(ID),
    "metadata": lambda manager: manager.get_session_metadata(ID),
    "update": lambda manager: manager.update_session_metadata(ID, METADATA),
    "replace": lambda manager: manager.update_session_metadata(ID, METADATA, merge=False),
    "remove": lambda manager: manager.update_session_metadata(ID, METADATA, remove=[FIELD]),
    "increment": lambda manager: manager.increment_session_metadata(ID, FIELD),
    "extend": lambda manager: manager.extend_session_ttl(ID, 1),
    "set ttl": lambda manager: manager.set_session_ttl(ID, 1),
    "renew": lambda manager: manager.renew_session(f"{ID}-2", 60, custom_metadata=METADATA),
    "log in": lambda manager: manager.renew_session(ID, user_id=f"{USER}-2"),
    "list": lambda manager: manager.list_user_sessions(USER),
    "delete": lambda manager: manager.delete_session(f"{ID}-2"),
    "delete some": lambda manager: manager.delete_sessions([f"{ID}-2", ID * 1000]),
    "delete all": lambda manager: manager.delete_user_sessions(f"{USER}-2", keep=ID, thorough=True),
    "count": lambda manager: manager.count_sessions(),
    "walk": lambda manager: _all(manager.iter_sessions()),
    "walk a user": lambda manager: _all(manager.iter_user_sessions(USER)),
}


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


class Watch:
    """Everything that tells, on the managers that are made here, and what it has told."""

    def __init__(self) -> None:
        self.metrics = SessionMetrics(by_sandbox=True)
        self.provider = TracerProvider()
        self.spans = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = self.provider.get_tracer("test")
        self.events: list[Any] = []
        self.errors: list[BaseException] = []
        self.factories: list[Any] = []
        self.managers: list[SessionManager] = []
        self.outcomes: set[str] = set()

    def manager(self, factory: Any, **options: Any) -> SessionManager:
        sink = SessionEvents(self.events.append)
        manager = SessionManager(
            "box",
            factory,
            metrics=self.metrics,
            traces=otel.SessionTraces(self.provider),
            on_event=sink,
            max_sessions_per_user=3,
            **{"strict": True, **options},
        )
        self.managers.append(manager)
        if hasattr(factory, "stats"):
            self.factories.append(factory)
        return manager

    async def calls(self, *managers: SessionManager) -> None:
        """All calls at once: a fault that lasts a timeout is over after one."""
        with self.tracer.start_as_current_span("request"):
            running = (self._call(name, call, manager) for manager in managers for name, call in CALLS.items())
            await asyncio.gather(*running)

    async def _call(self, name: str, call: Call, manager: SessionManager) -> None:
        try:
            result = await call(manager)
        except Exception as error:
            self._fail(name, error)
        else:
            for each in result if isinstance(result, list) else ():
                if isinstance(each, Exception):
                    self._fail(name, each)

    def _fail(self, name: str, error: Exception) -> None:
        cause = error.__cause__ or error
        self.outcomes.add(type(cause).__name__)
        if not (isinstance(error, MetadataError) and FIELD in str(error) and VALUE not in str(error)):
            self.errors.append(error)

    def told(self) -> Iterator[str]:
        """All of it as text."""
        registry = prometheus_client.CollectorRegistry()
        registry.register(SessionCollector(self.metrics, *self.factories))
        yield prometheus_client.generate_latest(registry).decode()
        reader = InMemoryMetricReader()
        meters = MeterProvider([reader])
        otel.observe(self.metrics, *self.factories, meter_provider=meters)
        yield str(reader.get_metrics_data())
        meters.shutdown()
        yield from (span.to_json() for span in self.spans.get_finished_spans())
        yield repr(self.events)
        for error in self.errors:
            yield f"{error!r} {error} {''.join(traceback.format_exception(error))}"
        for manager in self.managers:
            factory = manager.session_factory
            yield repr([manager, manager._store, factory, manager.get_cache_stats(), self.metrics])
            if hasattr(factory, "server_stats"):
                yield repr([factory._client, factory._client._config, factory.server_stats(), factory.stats()])


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
    """It answers nothing: after a timeout the outcome is unknown."""
    server.pause()
    yield
    server.resume()


@asynccontextmanager
async def killed(server: RedisServer) -> AsyncIterator[None]:
    server.kill()
    yield
    server.restart()


FAULTS = (full, demoted, forbidden, other_keys, wrong_type, unreadable, paused, killed)
OPTIONS = "?socket_timeout=0.5&reconnect_grace=0.05"


@pytest.mark.redis
async def test_on_a_server_with_faults(watch: Watch, server: RedisServer) -> None:
    """Each call in each fault: refusals of the server, silence, a crash."""
    factory = redis.factory(server.url_for(LOGIN, PASSWORD) + OPTIONS, timings=True)
    strict, mild = watch.manager(factory), watch.manager(factory, strict=False)
    await watch.calls(strict)
    for fault in FAULTS:
        async with fault(server):
            await watch.calls(strict, mild)
        await eventually(lambda: _is_up(factory))
    await watch.calls(strict)
    kinds = {"NotSent", "OutcomeUnknown", "OutOfMemoryError", "ReadOnlyError", "NoPermissionError", "SessionTakenError"}
    assert kinds <= watch.outcomes
    told = "".join(watch.told())
    assert all(word in told for word in ("EVALSHA touch", "session_ref", 'kind="out_of_memory"', "error.type"))


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
