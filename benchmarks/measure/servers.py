"""The Redis servers of a run: one without persistence, one that appends every write to a file, TLS and a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure.far import far
from benchmarks.measure.placement import Placement, pin_server
from benchmarks.workloads.case import Kind
from tests.support.cluster_servers import ClusterServers
from tests.support.servers import ExternalServer, RedisServer, Server, ServerError, find_binary
from tests.support.tls_files import TlsFiles

OPTIONS: dict[Kind, tuple[str, ...]] = {"redis": (), "redis-aof": ("appendonly yes", "appendfsync everysec")}


@dataclass(frozen=True, slots=True)
class Running:
    """The servers of a run, by kind."""

    servers: Mapping[Kind, Server]

    @property
    def urls(self) -> dict[str, str]:
        """What a worker is told."""
        return {kind: server.url for kind, server in self.servers.items()}

    def described(self) -> dict[str, Any]:
        """What a reader has to know."""
        return {kind: {"version": server.version, "settings": server.config()} for kind, server in self.servers.items()}


@contextmanager
def running(placement: Placement, kinds: Collection[Kind], url: str | None = None) -> Iterator[Running]:
    """Servers of these kinds, on the core that the placement gives them.

    A given URL stands for all of them: its settings are not ours to change.
    """
    with ExitStack() as stack:
        if url and kinds:
            yield Running({"redis": stack.enter_context(ExternalServer(url))})
        else:
            own = {kind: stack.enter_context(RedisServer(*OPTIONS[kind])) for kind in kinds}
            for server in own.values():
                pin_server(server.pid, placement)
            yield Running(own)


@contextmanager
def deployed(placement: Placement) -> Iterator[Mapping[str, str]]:
    """URLs by kind: a server that speaks TLS, where that is possible, a cluster of three masters, and a far server."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ClusterServers(replicas=0))
        own: dict[Kind, tuple[str, list[RedisServer]]] = {"redis-cluster": (cluster.url, list(cluster.nodes))}
        plain = stack.enter_context(RedisServer())
        own["redis-far"] = (stack.enter_context(far(plain.host, plain.port)), [plain])
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
    if not url:
        find_binary()
        return
    try:
        ExternalServer(url).start().stop()
    except ValueError as error:  # no URL at all
        raise ServerError(str(error)) from error
