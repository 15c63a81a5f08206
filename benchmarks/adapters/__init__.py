"""One small file per library under test; each has a class ``Library`` made from the URLs of the servers by kind."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from benchmarks.workloads.case import Adapter


def adapter(name: str, urls: Mapping[str, str]) -> Adapter:
    """The adapter of that name; nothing of its library is imported before it is opened."""
    library: Adapter = import_module(f"benchmarks.adapters.{name}").Library(urls)
    return library
