"""Spans: one for a call of a manager on Redis, named by the conventions, and none where nobody is recording."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager, StorageError
from chuk_sessions.providers import memory, redis
from chuk_sessions.providers.memory.store import MemorySessionStore
from tests.support import custom_provider
from tests.support.asgi import Browser, application
from tests.support.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.support.cluster_servers import ClusterServers
    from tests.support.servers import RedisServer

pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed")
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes

from chuk_sessions.instrumentation.otel import SessionTraces
from chuk_sessions.instrumentation.traces import OPERATIONS

STABLE = {
    value
    for module in (db_attributes, error_attributes, server_attributes)
    for name, value in vars(module).items()
    if name.isupper()
}


class Recorder:
    """A provider that keeps the spans that have ended."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def manager(self, factory: Any, **options: Any) -> SessionManager:
        return SessionManager("box", factory, traces=SessionTraces(self.provider), strict=True, **options)

    def spans(self) -> Sequence[ReadableSpan]:
        """Those of the package, in the order of their ends; they are forgotten then."""
        found = [span for span in self.exporter.get_finished_spans() if span.name not in ("request", "unrelated")]
        self.exporter.clear()
        return found

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.provider.shutdown()


@pytest.mark.redis
async def test_one_span_for_each_call(recorder: Recorder, redis_server: RedisServer, redis_url: str) -> None:
    """By the name of the command and the script; also for calls of many sessions, and of several steps."""
    manager = recorder.manager(redis.factory(redis_url))
    names: dict[str, list[str]] = {}

    async def call(name: str, *args: Any, **options: Any) -> Any:
        with recorder.tracer.start_as_current_span("request"):
            result = await getattr(manager, name)(*args, **options)
        names.setdefault(name, []).extend(recorder.names())
        return result

    session_id = await call("allocate_session", user_id="alice")
    ids = await call("allocate_sessions", [{"user_id": "alice"}] * 3)
    await call("validate_session", session_id)
    await call("validate_sessions", ids)
    for name in ("open_session", "get_session_info", "get_session_metadata"):
        await call(name, session_id)
    await call("update_session_metadata", session_id, {"a": 1})
    await call("increment_session_metadata", session_id, "n")
    await call("extend_session_ttl", session_id, 1)
    await call("set_session_ttl", session_id, 1)
    session_id = await call("renew_session", session_id)
    session_id = await call("renew_session", session_id, user_id="alice")
    await call("list_user_sessions", "alice")
    await call("delete_session", session_id)
    await call("delete_sessions", ids)
    await call("delete_user_sessions", "alice", thorough=True)
    await call("count_sessions")
    assert names == {
        "allocate_session": ["EVALSHA create"],
        "allocate_sessions": ["PIPELINE EVALSHA create"],
        "validate_session": ["EVALSHA touch"],
        "validate_sessions": ["PIPELINE EVALSHA touch"],
        "open_session": ["EVALSHA open"],
        "get_session_info": ["HGETALL"],
        "get_session_metadata": ["HGETALL"],
        "update_session_metadata": ["EVALSHA update"],
        "increment_session_metadata": ["EVALSHA increment"],
        "extend_session_ttl": ["EVALSHA extend"],
        "set_session_ttl": ["EVALSHA retime"],
        "renew_session": ["EVALSHA renew", "EVALSHA bind"],
        "list_user_sessions": ["EVALSHA index_members"],
        "delete_session": ["EVALSHA delete"],
        "delete_sessions": ["PIPELINE EVALSHA delete"],
        "delete_user_sessions": ["EVALSHA index_end", "SCAN"],
        "count_sessions": ["SCAN"],
    }
    with recorder.tracer.start_as_current_span("request"):
        assert [info async for info in manager.iter_sessions()] == []
        assert [info async for info in manager.iter_user_sessions("alice")] == []
    assert recorder.names() == ["SCAN", "EVALSHA index_members"]


def test_names_of_scripts() -> None:
    """Those of files of the package."""
    scripts = {path.name.removesuffix(".lua") for path in (files("chuk_sessions") / "providers/redis/lua").iterdir()}
    assert {operation.script for operation in OPERATIONS.values()} - {""} <= scripts


@pytest.mark.redis
async def test_attributes_are_those_of_the_conventions(
    recorder: Recorder, redis_server: RedisServer, redis_url: str
) -> None:
    manager = recorder.manager(redis.factory(redis_url))
    with recorder.tracer.start_as_current_span("request") as request:
        ids = await manager.allocate_sessions([{}] * 2)
        await manager.get_session_info(str(ids[0]))
    both, one = recorder.spans()
    for span in (both, one):
        assert set(span.attributes or {}) <= STABLE
        assert span.kind is trace.SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id
        assert span.status.is_unset
        assert not span.events
    where = {
        db_attributes.DB_SYSTEM_NAME: "redis",
        db_attributes.DB_NAMESPACE: str(redis_url.rpartition("/")[2] or 0),
        server_attributes.SERVER_ADDRESS: redis_server.host,
        server_attributes.SERVER_PORT: redis_server.port,
    }
    assert dict(both.attributes or {}) == {
        **where,
        db_attributes.DB_OPERATION_NAME: "PIPELINE EVALSHA",
        db_attributes.DB_OPERATION_BATCH_SIZE: 2,
        db_attributes.DB_STORED_PROCEDURE_NAME: "create",
    }
    assert dict(one.attributes or {}) == {**where, db_attributes.DB_OPERATION_NAME: "HGETALL"}


@pytest.mark.redis
async def test_errors(recorder: Recorder, own_server: RedisServer) -> None:
    """By the server's code, or the class; without the text, which nobody has checked for what may be in it."""
    manager = recorder.manager(redis.factory(own_server.url + "?reconnect_grace=0"))
    await manager.allocate_session()
    own_server.command("CONFIG", "SET", "maxmemory", "1")
    with recorder.tracer.start_as_current_span("request"), pytest.raises(StorageError):
        await manager.allocate_session()
    own_server.kill()
    await eventually(lambda: not next(iter(manager.session_factory.server_stats().values())).is_up)
    with recorder.tracer.start_as_current_span("request"), pytest.raises(StorageError):
        await manager.validate_session("unknown")
    refused, away = recorder.spans()
    expected = {error_attributes.ERROR_TYPE: "OOM", db_attributes.DB_RESPONSE_STATUS_CODE: "OOM"}
    assert expected.items() <= dict(refused.attributes or {}).items()
    assert (away.attributes or {})[error_attributes.ERROR_TYPE] == "NotSent"
    assert db_attributes.DB_RESPONSE_STATUS_CODE not in (away.attributes or {})
    for span in (refused, away):
        assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, None)
        assert not span.events


@pytest.mark.redis
async def test_a_call_that_is_given_up(recorder: Recorder, own_server: RedisServer) -> None:
    """Its span ends too."""
    manager = recorder.manager(redis.factory(own_server.url))
    await manager.allocate_session()
    own_server.pause()
    with recorder.tracer.start_as_current_span("request"):
        task = asyncio.create_task(manager.validate_session("unknown"))
        await eventually(lambda: manager.session_factory.stats()["in_flight"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    own_server.resume()
    (span,) = recorder.spans()
    assert (span.attributes or {})[error_attributes.ERROR_TYPE] == "CancelledError"


@pytest.mark.redis
async def test_nobody_is_recording(recorder: Recorder, redis_server: RedisServer, redis_url: str) -> None:
    """No span outside of any other, and none in one that is not sampled."""
    manager = recorder.manager(redis.factory(redis_url))
    assert await manager.validate_sessions([await manager.allocate_session()]) == [True]
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with unsampled.start_as_current_span("request"):
        assert await manager.count_sessions() == 1
        assert len([info async for info in manager.iter_sessions()]) == 1
    assert recorder.names() == []


@pytest.mark.redis
async def test_the_server_of_a_session_in_a_cluster(recorder: Recorder, cluster: ClusterServers) -> None:
    """The master that has its slot; nothing is said of calls that ask several."""
    manager = recorder.manager(redis.factory(cluster.url))
    session_id = await manager.allocate_session(user_id="alice")
    with recorder.tracer.start_as_current_span("request"):
        await manager.validate_session(session_id)
        await manager.list_user_sessions("alice")
        await manager.count_sessions()
    touch, listing, count = recorder.spans()
    addresses = {(node.host, node.port) for node in cluster.nodes}
    for span in (touch, listing):
        attributes = span.attributes or {}
        place = attributes[server_attributes.SERVER_ADDRESS], attributes[server_attributes.SERVER_PORT]
        assert place in addresses
    assert server_attributes.SERVER_ADDRESS not in (count.attributes or {})


async def test_none_in_memory(recorder: Recorder) -> None:
    """Nor on a provider of one's own. In memory the store is bare."""
    for factory in (memory.factory(memory.MemoryStore()), custom_provider.factory()):
        manager = recorder.manager(factory)
        with recorder.tracer.start_as_current_span("request"):
            assert await manager.validate_session(await manager.allocate_session())
            assert await manager.validate_sessions(["unknown"]) == [False]
    assert type(recorder.manager(memory.factory(memory.MemoryStore()))._store) is MemorySessionStore
    assert recorder.names() == []


@pytest.mark.redis
async def test_spans_are_children_of_the_request(recorder: Recorder, redis_server: RedisServer, redis_url: str) -> None:
    """Through the middleware: what is stored when the response begins is a part of the request too."""
    from chuk_sessions.web import SessionMiddleware

    manager = recorder.manager(redis.factory(redis_url), opaque_ids=True)

    async def index(session: Any, scope: Any) -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    inner = SessionMiddleware(application(index=index), manager)

    async def traced(scope: Any, receive: Any, send: Any) -> None:
        with recorder.tracer.start_as_current_span("request"):
            await inner(scope, receive, send)

    browser = Browser(traced)
    await browser.get("/")
    await browser.get("/")
    spans = recorder.exporter.get_finished_spans()
    requests = {span.context.span_id for span in spans if span.name == "request"}
    ours = [span for span in spans if span.name != "request"]
    assert len(ours) == 3  # a session is stored; it is opened; it is updated
    assert all(span.parent is not None and span.parent.span_id in requests for span in ours)


@pytest.mark.redis
async def test_blocking_calls(recorder: Recorder, redis_url: str) -> None:
    """The event loop that answers them knows the span of the thread that asks."""
    from chuk_sessions.web.blocking import SyncSessionManager

    blocking = SyncSessionManager(recorder.manager(redis.factory(redis_url)))
    with recorder.tracer.start_as_current_span("request"):
        assert not await asyncio.to_thread(blocking.validate_session, "unknown")
    assert recorder.names() == ["EVALSHA touch"]


def test_refused_arguments() -> None:
    with pytest.raises(TypeError, match="traces must be a SessionTraces, got bool"):
        SessionManager("box", memory.factory(), traces=True)  # type: ignore[arg-type]
