"""chuk-sessions with metadata that is sealed on Redis; all else as ``chuk``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.adapters import chuk
from benchmarks.workloads.case import Kind


class Library(chuk.Library):
    """Managers whose factory has a key."""

    def _factory(self, kind: Kind) -> Any:
        keys = import_module("chuk_sessions.encryption").Keyring({"k1": bytes(32)}, write="k1")
        return import_module("chuk_sessions.providers.redis").factory(self.urls[kind], encryption=keys)
