"""The Redis servers of a run: one without persistence, one that appends every write to a file, TLS and a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure.placement import Placement, pin_server
from benchmarks.workloads.case import Kind
from tests.support.cluster_servers import ClusterServers
from tests.support.servers import ExternalServer, RedisServer, Server, ServerError, find_binary
from tests.support.tls_files import TlsFiles

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


@contextmanager
def deployed(placement: Placement) -> Iterator[Mapping[str, str]]:
    """URLs by kind of a server that speaks TLS, where that is possible, and of a cluster of three masters."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterServers(replicas=0))
        own: dict[Kind, tuple[str, list[RedisServer]]] = {"redis-cluster": (cluster.url, list(cluster.nodes))}
        secured = _secured(stack)
        if secured:
            own["redis-tls"] = (secured.url, [secured])
        for _, members in own.values():
            for server in members:
                pin_server(server.pid, placement)
        yield {kind: url for kind, (url, _) in own.items()}


def _secured(stack: ExitStack) -> RedisServer | None:
    """A server with a certificate of an authority made here; None if there is nothing to make one, or no TLS in it."""
    if not find_spec("trustme"):
        return None
    import trustme

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chuk-bench-")))
    files = TlsFiles(folder / "authority.pem", folder / "server.pem", folder / "key.pem")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(files.authority)
    certificate.cert_chain_pems[0].write_to_path(files.certificate)
    certificate.private_key_pem.write_to_path(files.key)
    try:
        return stack.enter_context(RedisServer(tls=files))
    except ServerError:
        return None


def ensure(url: str | None) -> None:
    """ServerError, with what to do about it, if `running` could not have a server; better before the first case."""
    if url:
        ExternalServer(url).start().stop()
    else:
        find_binary()


def described(server: Server) -> dict[str, Any]:
    """What a reader has to know of a server."""
    return {"version": server.version, "settings": server.config()}
