"""Lua scripts: sent by their hash, and whole when the server does not know it yet."""

from __future__ import annotations

from hashlib import sha1

from chuk_sessions.exceptions import ServerError
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Argument, Replay, Reply

__all__ = ["Script"]


class Script:
    """A script of ``source``; every key that it touches must be among ``keys``."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._sha = sha1(self._source, usedforsecurity=False).hexdigest().encode()

    async def run(
        self, client: Client, keys: tuple[str, ...], args: tuple[Argument, ...], replay: Replay = Replay.NEVER
    ) -> Reply:
        """Run it; its reply. The errors are those of ``Client.call``.

        A server that was restarted or took over from another does not have the script; it says so before running
        anything, so sending the source then is safe.
        """
        try:
            return await client.call(b"EVALSHA", self._sha, len(keys), *keys, *args, replay=replay)
        except ServerError as exc:
            if not str(exc).startswith("NOSCRIPT"):
                raise
        return await client.call(b"EVAL", self._source, len(keys), *keys, *args, replay=replay)
