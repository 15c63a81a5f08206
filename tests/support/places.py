"""A cluster in the place of a server: what must be so wherever the keys are is tested on both."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.ids import user_tag
from chuk_sessions.providers.redis.entries import raw_member
from chuk_sessions.providers.redis.keys import index_key, names_in_key, quote_part
from chuk_sessions.providers.redis.record import to_text
from tests.support.cluster_servers import SLOTS, ClusterServers, slot_of
from tests.support.servers import Reply, Server, as_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.cluster_servers import ClusterNode

PLACES = ("server", "cluster")
COUNT = "return redis.call('DBSIZE') - #redis.call('KEYS', 'taken:*')"


class ClusterPlace(Server):
    """The masters of a cluster as if they were one server. Their slots must not move."""

    def __init__(self, cluster: ClusterServers) -> None:
        self._cluster = cluster
        self.nodes: Sequence[ClusterNode] = cluster.masters
        self._owners = [self.nodes[0]] * SLOTS
        for node in self.nodes:
            for slot in node.claim().slots:
                self._owners[slot] = node

    @property
    def url(self) -> str:
        """Of the cluster."""
        return self._cluster.url

    def command(self, *parts: str, timeout: float = 5.0) -> Reply:
        """By its key; DBSIZE is of all, without the notes that moving leaves for some minutes."""
        if parts[0] == "DBSIZE":
            return sum(int(str(node.command("EVAL", COUNT, "0"))) for node in self.nodes)
        if parts[0] in ("CONFIG", "SCRIPT"):
            return [node.command(*parts) for node in self.nodes]
        if parts[0] == "EVAL":  # of a test that writes this very key, whose name is no text
            return self._owners[binascii.crc_hqx(b"session:\xff", 0) % SLOTS].command(*parts)
        return self._owners[slot_of(parts[2] if parts[0] == "MEMORY" else parts[1])].command(*parts, timeout=timeout)

    def commands(self, *lines: Sequence[str], timeout: float = 5.0) -> list[Reply]:
        """Each by its key, which is its second part; one connection for each master."""
        owners = [self._owners[slot_of(line[1])] for line in lines]
        mine = {node: [line for line, owner in zip(lines, owners, strict=True) if owner is node] for node in owners}
        replies = {node: iter(node.commands(*some, timeout=timeout)) for node, some in mine.items()}
        return [next(replies[owner]) for owner in owners]

    def flush(self) -> None:
        """Empty all."""
        for node in self.nodes:
            node.flush()

    def info(self, section: str = "server") -> dict[str, str]:
        """Of all; where several have a field, of any."""
        return {name: value for node in self.nodes for name, value in node.info(section).items()}


def session_keys_in(server: Server) -> int:
    """How many sessions it has, in both layouts, whatever the index says."""
    return sum(len(texts(node, "KEYS", "session:*")) for node in getattr(server, "nodes", [server]))


def sessions_in(server: Server) -> int:
    """How many sessions it has, in both layouts; of ours, those that have a user must be just what the index lists."""
    sessions, owned, listed = 0, list[tuple[str, bytes]](), list[tuple[str, bytes]]()
    for node in getattr(server, "nodes", [server]):
        keys = texts(node, "KEYS", "session:*")
        sessions += len(keys)
        owned += entries_of(node, [key for key, kind in zip(keys, types_of(node, keys), strict=True) if kind == "hash"])
        indexes = texts(node, "KEYS", "user:*")
        for index, kind in zip(indexes, types_of(node, indexes), strict=True):
            if kind == "zset":
                listed += ((index, as_bytes(member)) for member in texts(node, "ZRANGE", index, "0", "-1"))
    assert sorted(listed) == sorted(owned)
    return sessions


def types_of(server: Server, keys: Sequence[str]) -> Sequence[Reply]:
    """What TYPE says of each, all on one connection: there may be thousands."""
    return server.commands(*(("TYPE", key) for key in keys)) if keys else []


def entries_of(server: Server, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Of those sessions that have a user, the key of the index that each must be in, and its entry there."""
    found = server.commands(*(("HMGET", key, "user", "created", "inc") for key in keys)) if keys else []
    for key, fields in zip(keys, found, strict=True):
        names = names_in_key(key.encode())
        assert names is not None
        assert isinstance(fields, list)
        if fields[0] is not None:
            user, incarnation = as_bytes(str(fields[0])), fields[2] or f"{fields[1]}."
            index = index_key(quote_part(names[0]), user_tag(names[0], to_text(user)))
            yield index, raw_member(index, key, user, str(incarnation).encode())


def entry_of(server: Server, key: str) -> tuple[str, bytes]:
    """The key of the index that a session with a user must be in, and its entry there."""
    (entry,) = entries_of(server, [key])
    return entry


def texts(server: Server, *command: str) -> list[str]:
    reply = server.command(*command)
    assert isinstance(reply, list)
    return list(map(str, reply))


@pytest.fixture(params=PLACES)
def server_or_cluster(request: pytest.FixtureRequest) -> Server:
    """In a test file, ``redis_server = server_or_cluster`` runs each of its tests on the server and on a cluster."""
    if request.param == "cluster":
        return ClusterPlace(request.getfixturevalue("calm_cluster"))
    server: Server = request.getfixturevalue("started_server")
    return server
