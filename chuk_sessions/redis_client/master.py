"""One server of a deployment, for commands about the server itself: SCAN, INFO, CONFIG, DBSIZE."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.redis_client.commands import NO_SLOT, Argument, Replay, Reply, pack
from chuk_sessions.redis_client.replies import as_dict
from chuk_sessions.redis_client.slots import parse_claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.redis_client.node import Node

__all__ = ["Master", "Ownership"]


class Ownership(NamedTuple):
    """The claim of a server, for comparison: as long as it is equal, the same keys belong to the server.

    ``reconnects`` counts the connections before this one: over a new connection the server may be another one, or may
    have been restarted. ``epoch`` and ``slots`` come from ``parse_claim``; a lone server has neither, and has all keys.
    """

    reconnects: int
    epoch: str = ""
    slots: tuple[str, ...] = ()

    @property
    def is_moving(self) -> bool:
        """Whether a slot is moving from the server or to it."""
        return any("[" in slot for slot in self.slots)

    @property
    def is_taking(self) -> bool:
        """Whether a slot is moving to the server."""
        return any("-<-" in slot for slot in self.slots)


class Master:
    """Sends commands to one server that takes writes, and to no other server, whatever their keys.

    ``owner`` is the client. It must live as long as this object, because its connections close when it is dropped.
    """

    def __init__(self, node: Node, node_of: Callable[[Argument], Node | None], in_cluster: bool, owner: object) -> None:
        self._owner = owner
        self._node = node
        self._node_of = node_of
        self.in_cluster = in_cluster

    def __repr__(self) -> str:
        return f"<Master {self.address}>"

    @property
    def address(self) -> str:
        """``host:port``, or another name of a lone server from the URL; without the password."""
        return self._node.address

    def has(self, key: Argument) -> bool:
        """Tell whether commands of the client for ``key`` go to this server, as far as the client knows now."""
        return self._node_of(key) is self._node

    def call(self, *args: Argument, replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
        """Send one command here, as ``Client.call``, but do not follow redirections: MOVED is a ServerError."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._node.send(future, pack(args), replay, NO_SLOT)
        return future

    async def ownership(self) -> Ownership:
        """Ask for the server's claim now.

        Raises as ``call``, and ProviderError if the server is a lone one by the URL, but in truth one of a cluster.
        """
        if not self.in_cluster:
            await self._must_have_all()
            return Ownership(self._node.reconnects)
        epoch, slots = parse_claim(await self.call(b"CLUSTER", b"NODES", replay=Replay.READ))
        return Ownership(self._node.reconnects, epoch, slots)

    async def _must_have_all(self) -> None:
        """Raise ProviderError if the server, a lone one by the URL, has only its part of a cluster's keys.

        Such a server refuses a command whose key is on another server. But a walk over all keys would silently find
        only some of them. Every user may send HELLO. A server that does not know HELLO (a proxy) counts as a lone one.
        """
        try:
            told = as_dict(await self.call(b"HELLO", replay=Replay.READ), "HELLO")
        except ServerError:
            return
        if told.get(b"mode") == b"cluster":
            raise ProviderError(
                f"Redis at {self.address} is one of a cluster, with a part of the keys: add cluster=true to the URL"
            )
