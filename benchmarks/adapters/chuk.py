"""chuk-sessions, this version and 0.2 alike: both are opened through the same names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters import library
from benchmarks.workloads.case import Kind, Layer

SANDBOX = "my-app"
SELDOM = 3600.0  # seconds: nothing is touched, and no lease is renewed, in the middle of a block
OPTIONS: dict[Layer, dict[str, Any]] = {
    "seldom": {"touch_interval": SELDOM},
    "near": {"touch_interval": SELDOM, "near_cache": SELDOM},
    "web": {"strict": True, "opaque_ids": True},
}


class MovedClock:
    """A store of its own whose time is ``now``, which the workload moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.provider: Any = None


@asynccontextmanager
async def moved_clock() -> AsyncIterator[MovedClock]:
    """The provider on such a store; TypeError from versions whose store takes no clock."""
    moved = MovedClock()
    memory = import_module("chuk_sessions.providers.memory")
    async with memory.factory(store=memory.MemoryStore(clock=lambda: moved.now))() as moved.provider:
        yield moved


class Library(library.Library):
    """Providers with their default stores, and managers of the sandbox of the README's quick start."""

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        if kind == "memory-clock":
            return moved_clock()
        if layer == "provider":
            opened: AbstractAsyncContextManager[Any] = self._factory(kind)()
            return opened
        manager = import_module("chuk_sessions.session_manager").SessionManager
        options = dict(OPTIONS.get(layer, {}))
        if kind == "memory-counted":
            options["metrics"] = import_module("chuk_sessions.instrumentation").SessionMetrics()
        return nullcontext(manager(sandbox_id=SANDBOX, session_factory=self._of(layer, kind), **options))

    def _of(self, layer: Layer, kind: Kind) -> Any:
        """A near cache has a client of its own: for those who share one, the server tracks what they read."""
        if layer != "near":
            return self._factory(kind)
        url = self.urls[kind]
        named = f"{url}{'&' if '?' in url else '?'}client_name=near"
        return import_module("chuk_sessions.providers.redis").factory(named)

    def _factory(self, kind: Kind) -> Any:
        if kind in ("memory", "memory-counted"):
            return import_module("chuk_sessions.providers.memory").factory()
        if kind == "redis-timed":
            return import_module("chuk_sessions.providers.redis").factory(self.urls["redis"], timings=True)
        return import_module("chuk_sessions.providers.redis").factory(self.urls[kind])
