"""What an adapter says of a workload that its library cannot do."""

from __future__ import annotations

from benchmarks.workloads.case import Kind, Layer


class CannotDo(Exception):
    """The library has nothing like it; this is what the table shows."""


def provider_only(layer: Layer, kind: Kind) -> None:
    """For libraries of keys and values with lifetimes."""
    if layer != "provider":
        raise CannotDo("no sessions with metadata")
    if kind == "memory-clock":
        raise CannotDo("no clock to move")


def memory_only(layer: Layer, kind: Kind) -> None:
    """For those that keep them in the process."""
    provider_only(layer, kind)
    if kind != "memory":
        raise CannotDo("memory only")


def redis_only(layer: Layer, kind: Kind) -> None:
    """For clients."""
    provider_only(layer, kind)
    if kind == "memory":
        raise CannotDo("a Redis client")
