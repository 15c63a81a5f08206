"""Canaries: who and what must be seen nowhere, calls with all of it, and a ``Watch`` over everything that tells.

Needs the extra prometheus and the SDK of OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import prometheus_client
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.instrumentation import SessionEvents, SessionMetrics, otel
from chuk_sessions.instrumentation.prometheus import SessionCollector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

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
    """Everything that tells, on the managers that are made here, and what it has told.

    `outcomes` has the types of all errors that callers got, those of their causes, and the codes of the servers.
    """

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

    async def calls(self, *managers: SessionManager) -> set[str]:
        """All calls at once: a fault that lasts a timeout is over after one. What came of these, as in `outcomes`."""
        with self.tracer.start_as_current_span("request"):
            running = (self._call(call, manager) for manager in managers for call in CALLS.values())
            outcomes = set().union(*await asyncio.gather(*running))
        self.outcomes |= outcomes
        return outcomes

    async def _call(self, call: Call, manager: SessionManager) -> set[str]:
        try:
            result = await call(manager)
        except Exception as error:
            return self._failed(error)
        errors = [each for each in result if isinstance(each, Exception)] if isinstance(result, list) else []
        return set().union(*map(self._failed, errors))

    def _failed(self, error: Exception) -> set[str]:
        if not (isinstance(error, MetadataError) and FIELD in str(error) and VALUE not in str(error)):
            self.errors.append(error)
        outcomes: set[str] = set()
        each: BaseException | None = error
        while each is not None:
            outcomes |= {type(each).__name__, getattr(each, "code", "")}
            each = each.__cause__
        return outcomes

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
