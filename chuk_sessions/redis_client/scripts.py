"""Lua scripts: sent by their hash, and whole when the server does not know it yet."""

from __future__ import annotations

import asyncio
from hashlib import sha1

from chuk_sessions.redis_client.client import Client, Deployment
from chuk_sessions.redis_client.commands import NO_SLOT, Argument, Replay, Reply, pack
from chuk_sessions.redis_client.outcomes import SecondTry
from chuk_sessions.redis_client.replies import MissingScriptError

__all__ = ["Script"]


class Script:
    """A script of ``source``; every key that it touches must be among ``keys``.

    A server that was restarted or took over from another does not have a script that was sent before; it says so
    before running anything, so sending the source then is safe.
    """

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self.sha = sha1(self._source, usedforsecurity=False).hexdigest().encode()

    async def run(
        self, client: Client, keys: tuple[Argument, ...], args: tuple[Argument, ...], replay: Replay = Replay.NEVER
    ) -> Reply:
        """Run it; its reply. The errors are those of ``Client.call``."""
        deployment = client.deployment()
        born = deployment.tick
        try:
            return await deployment.call((b"EVALSHA", self.sha, len(keys), *keys, *args), replay)
        except MissingScriptError as missing:
            lost = missing.lost
        return await self.run_source(deployment, keys, args, replay, born, lost)

    async def run_source(
        self,
        deployment: Deployment,
        keys: tuple[Argument, ...],
        args: tuple[Argument, ...],
        replay: Replay,
        born: int,
        lost: str,
    ) -> Reply:
        """The same with the whole source, and with the deadline of a command made at tick ``born``.

        ``lost`` is that of the MissingScriptError: if the reply to an earlier try was lost, this is a second try.
        """
        command = (b"EVAL", self._source, len(keys), *keys, *args)
        if not lost:
            return await deployment.call(command, replay, born)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        slot = deployment.slot_of(keys[0]) if keys else NO_SLOT
        deployment.send(SecondTry(future, replay, lost), pack(command), Replay.NEVER, slot, born)
        return await future
