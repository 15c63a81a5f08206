"""Something happens on the server at an exact moment: just before a client sends a certain command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Argument, Replay, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.redis_client.scripts import Script


class Meddler(Client):
    """A client that runs ``meddle`` before it sends ``script`` by its hash, the first ``times`` times.

    ``meddle`` talks to the server by itself and is done when it returns: what it does happens between the command
    before and this one, every time, however fast anything is.
    """

    def __init__(self, url: str, script: Script, meddle: Callable[[], object], times: int = 1) -> None:
        super().__init__(url)
        self._sha = script.sha
        self._meddle = meddle
        self._times = times

    def call(self, *args: Argument, replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
        """Send the command, perhaps not as the next that happens."""
        if self._times and args[:2] == (b"EVALSHA", self._sha):
            self._times -= 1
            self._meddle()
        return super().call(*args, replay=replay)
