"""chuk-sessions, this version and 0.2 alike: both are opened through the same names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.case import Kind, Layer

SANDBOX = "my-app"


class Library:
    """Providers with their default stores, and managers of the sandbox of the README's quick start."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        if layer == "provider":
            opened: AbstractAsyncContextManager[Any] = self._factory(kind)()
            return opened
        manager = import_module("chuk_sessions.session_manager").SessionManager
        return nullcontext(manager(sandbox_id=SANDBOX, session_factory=self._factory(kind)))

    def _factory(self, kind: Kind) -> Any:
        if kind == "memory":
            return import_module("chuk_sessions.providers.memory").factory()
        return import_module("chuk_sessions.providers.redis").factory(self._urls[kind])
