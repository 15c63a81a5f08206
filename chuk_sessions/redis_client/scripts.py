"""Lua scripts: sent by their hash, and whole when the server does not know it yet."""

from __future__ import annotations

from hashlib import sha1

from chuk_sessions.redis_client.client import Client, Deployment
from chuk_sessions.redis_client.commands import Argument, Replay, Reply
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
        except MissingScriptError:
            pass
        return await self.run_source(deployment, keys, args, replay, born)

    async def run_source(
        self,
        deployment: Deployment,
        keys: tuple[Argument, ...],
        args: tuple[Argument, ...],
        replay: Replay,
        born: int,
    ) -> Reply:
        """The same with the whole source, and with the deadline of a command made at tick ``born``."""
        return await deployment.call((b"EVAL", self._source, len(keys), *keys, *args), replay, born)
