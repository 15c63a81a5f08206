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
    """What a server has, to compare with: as long as it is the same, so are the keys that belong there.

    ``reconnects`` counts the connections before this one: behind another, the server may be another one, or have been
    restarted. ``epoch`` and ``slots`` are as ``parse_claim`` gives them; a lone server has none, and all keys.
    """

    reconnects: int
    epoch: str = ""
    slots: tuple[str, ...] = ()

    @property
    def is_moving(self) -> bool:
        """Whether a slot is on its way from the server or to it."""
        return any("[" in slot for slot in self.slots)

    @property
    def is_taking(self) -> bool:
        """Whether a slot is on its way to the server."""
        return any("-<-" in slot for slot in self.slots)


class Master:
    """A server that takes writes. Commands go to it and to no other, whatever their keys.

    ``owner`` lives as long as this: the client, whose connections close when nobody has it any more.
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
        """``host:port``, or what else the URL names a lone server by; without the password."""
        return self._node.address

    def has(self, key: Argument) -> bool:
        """Whether commands of the client for ``key`` go here, as far as it knows now."""
        return self._node_of(key) is self._node

    def call(self, *args: Argument, replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
        """Send one command here; as ``Client.call``, but that redirections are not followed: MOVED is a ServerError."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._node.send(future, pack(args), replay, NO_SLOT)
        return future

    async def ownership(self) -> Ownership:
        """What the server has now. Raises as ``call``, and ProviderError for a part of a cluster."""
        if not self.in_cluster:
            await self._must_have_all()
            return Ownership(self._node.reconnects)
        epoch, slots = parse_claim(await self.call(b"CLUSTER", b"NODES", replay=Replay.READ))
        return Ownership(self._node.reconnects, epoch, slots)

    async def _must_have_all(self) -> None:
        """ProviderError if the server, which the URL takes for a lone one, has only its part of a cluster's keys.

        A command with a key is refused there if the key is elsewhere; a walk over all keys would find some and say
        nothing. Every user may send HELLO; what does not know it (a proxy) is taken for a lone server.
        """
        try:
            told = as_dict(await self.call(b"HELLO", replay=Replay.READ))
        except ServerError:
            return
        if told.get(b"mode") == b"cluster":
            raise ProviderError(
                f"Redis at {self.address} is one of a cluster, with a part of the keys: add cluster=true to the URL"
            )
