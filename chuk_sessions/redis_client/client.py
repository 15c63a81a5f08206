"""The front of the data path: from a URL to replies, whichever event loop and process asks."""

from __future__ import annotations

import asyncio
import os
import weakref
from asyncio import get_running_loop

from chuk_sessions.redis_client.connection import Argument, Replay, Reply
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.url import RedisConfig, parse_url

__all__ = ["Client"]


class Client:
    """Talks to the server that ``url`` names; each event loop, and each process after a fork, over its own connection.

    Nothing is parsed or connected before the first call. A client is meant to be shared and to live as long as the
    process; connections close when their event loop shuts down.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._config: RedisConfig | None = None
        self._nodes: dict[asyncio.AbstractEventLoop, Node] = {}
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<Client {self._config.address if self._config else 'unused'} {list(self._nodes.values())}>"

    def call(self, *args: Argument, replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
        """Send one command; a future with its reply as hiredis gives it (bytes, int, None, list).

        The future raises ServerError with the server's message; NotSent if the command could not be sent within the
        timeout, or the server is down; OutcomeUnknown if it was sent and its reply was lost or late. ``replay`` says
        what may be done then. Cancelling the future is safe at any time. Raises ProviderError if the URL cannot be
        used, RuntimeError outside an event loop.
        """
        return self.node().call(args, replay)

    def node(self) -> Node:
        """The server as seen from the running loop. Raises as ``call`` does."""
        loop = get_running_loop()
        try:
            return self._nodes[loop]
        except KeyError:
            return self._open(loop)

    def stats(self) -> dict[str, int]:
        """Numbers of this process: ``in_flight``, ``queued``, ``reconnects``, ``timeouts``, over all event loops."""
        nodes = [node for loop, node in list(self._nodes.items()) if not loop.is_closed()]
        return {
            name: sum(getattr(node, name) for node in nodes)
            for name in ("in_flight", "queued", "reconnects", "timeouts")
        }

    def _open(self, loop: asyncio.AbstractEventLoop) -> Node:
        if self._config is None:
            self._config = parse_url(self._url)
        for other in list(self._nodes):
            if other.is_closed():
                self._nodes.pop(other, None)
        node = self._nodes[loop] = Node(self._config, loop)
        return node


_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    """Leave the parent's connections alone: even closing one would reach into the epoll set that both share."""
    for client in list(_clients):
        _inherited.append(client._nodes)
        client._nodes = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
