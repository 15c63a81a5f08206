"""The Redis servers of a run: one without persistence, one that appends every write to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.case import Kind
from benchmarks.placement import Placement, pin_server
from tests.servers import ExternalServer, RedisServer, Server, find_binary

OPTIONS: dict[Kind, tuple[str, ...]] = {"redis": (), "redis-aof": ("appendonly yes", "appendfsync everysec")}


@contextmanager
def running(url: str | None, placement: Placement) -> Iterator[Mapping[Kind, Server]]:
    """Servers by kind, on the core that the placement gives them.

    A given URL stands for all of them: its settings are not ours to change.
    """
    with ExitStack() as stack:
        if url:
            yield {"redis": stack.enter_context(ExternalServer(url))}
        else:
            own = {kind: stack.enter_context(RedisServer(*options)) for kind, options in OPTIONS.items()}
            for server in own.values():
                pin_server(server.pid, placement)
            yield own


def ensure(url: str | None) -> None:
    """ServerError, with what to do about it, if `running` could not have a server; better before the first case."""
    if url:
        ExternalServer(url).start().stop()
    else:
        find_binary()


def described(server: Server) -> dict[str, Any]:
    """What a reader has to know of a server."""
    return {"version": server.version, "settings": server.config()}
