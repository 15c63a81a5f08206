"""Lua scripts: sent by their hash, or as source if the server does not know the hash yet."""

from __future__ import annotations

import asyncio
from hashlib import sha1

from chuk_sessions.redis_client.client import Call, Client, Deployment
from chuk_sessions.redis_client.commands import Argument, Replay, Reply, pack
from chuk_sessions.redis_client.outcomes import SecondTry
from chuk_sessions.redis_client.replies import MissingScriptError
from chuk_sessions.redis_client.slots import key_of

__all__ = ["Script"]

MAX_ROUNDS = 3  # how often a call relies on the source that another call sends, before it sends the source itself


class Script:
    """A script of ``source``; every key that it uses must be among ``keys``.

    With ``bounded=False`` its arguments may be larger than ``max_value_bytes``: they are values that a server already
    holds.

    A server that was restarted, or took over from another, lacks scripts that were sent before. It says so before it
    runs anything, so sending the source then is safe. One of the calls under way sends it for all.
    """

    def __init__(self, source: str, bounded: bool = True) -> None:
        self._source = source.encode()
        self._bounded = bounded
        self.sha = sha1(self._source, usedforsecurity=False).hexdigest().encode()
        self._being_sent: set[object] = set()  # the servers that the source is on its way to

    @property
    def source(self) -> str:
        """The text."""
        return self._source.decode()

    @property
    def bounded(self) -> bool:
        """Whether its arguments have a bound."""
        return self._bounded

    async def run(
        self, client: Client, keys: tuple[Argument, ...], args: tuple[Argument, ...], replay: Replay = Replay.NEVER
    ) -> Reply:
        """Run the script. Return its reply. The errors are those of ``Client.call``."""
        return await self.step(client.begin(), keys, args, replay)

    async def step(
        self, call: Call, keys: tuple[Argument, ...], args: tuple[Argument, ...], replay: Replay = Replay.NEVER
    ) -> Reply:
        """Run the script as one step of a call, with the deadline of that call."""
        deployment, born = call
        try:
            command = (b"EVALSHA", self.sha, b"%d" % len(keys), *keys, *args)
            return await deployment.call(command, replay, born, self._bounded)
        except MissingScriptError as missing:
            lost = missing.lost
        return await self.run_anew(deployment, keys, args, replay, born, lost)

    def pack(self, key: Argument, args: tuple[Argument, ...]) -> bytes:
        """Make the bytes of the command that runs the script with one key."""
        return pack((b"EVALSHA", self.sha, b"1", key, *args))

    async def run_anew(
        self,
        deployment: Deployment,
        keys: tuple[Argument, ...],
        args: tuple[Argument, ...],
        replay: Replay,
        born: int,
        lost: str,
    ) -> Reply:
        """Run the script on a server that did not know it, with the deadline of a command made at tick ``born``.

        The first of many callers sends the source. The others send the hash right after it, on the same connection: the
        server knows the script when it reads their commands. ``lost`` is that of the MissingScriptError: if the reply
        to an earlier try was lost, this is a second try.
        """
        count = b"%d" % len(keys)
        for _ in range(MAX_ROUNDS):
            if _server(deployment, keys) not in self._being_sent:
                break
            try:
                return await self._call(deployment, (b"EVALSHA", self.sha, count, *keys, *args), replay, born, lost)
            except MissingScriptError as missing:  # the source did not arrive
                lost = lost or missing.lost
        server = _server(deployment, keys)
        self._being_sent.add(server)
        try:
            return await self._call(deployment, (b"EVAL", self._source, count, *keys, *args), replay, born, lost)
        finally:
            self._being_sent.discard(server)

    def _call(
        self, deployment: Deployment, command: tuple[Argument, ...], replay: Replay, born: int, lost: str
    ) -> asyncio.Future[Reply]:
        """Send a command once more; it is a second try if the reply to the first was ``lost``."""
        if not lost:
            return deployment.call(command, replay, born, self._bounded)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        slot = deployment.slot_of(key_of(command))
        deployment.send(SecondTry(future, replay, lost), pack(command), Replay.NEVER, slot, born)
        return future


def _server(deployment: Deployment, keys: tuple[Argument, ...]) -> object:
    """Return the server that a command with these keys goes to now; the deployment if that is not known."""
    return (deployment.node_of(keys[0]) if keys else None) or deployment
