"""Something happens on the server at an exact moment: just before a client sends a certain command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from chuk_sessions.redis_client.client import Call, Client, Deployment, Ticking
from chuk_sessions.redis_client.commands import Argument, Replay, Reply
from chuk_sessions.redis_client.open_batches import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.redis_client.scripts import Script


class AsksForDeployment(Client):
    """A client whose calls all ask for ``deployment``, in whose place a test may put another one."""

    def begin(self) -> Call:
        """See ``Client.begin``, which looks it up by itself."""
        deployment = self.deployment()
        return deployment, deployment.watchdog.tick


class Meddler(AsksForDeployment):
    """A client that runs ``meddle`` before it sends ``script`` by its hash, the first ``times`` times.

    ``meddle`` talks to the server by itself and is done when it returns: what it does happens between the command
    before and this one, every time, however fast anything is.
    """

    def __init__(self, url: str, script: Script, meddle: Callable[[], object], times: int = 1) -> None:
        super().__init__(url)
        self._sha = script.sha
        self._meddle = meddle
        self._times = times

    def deployment(self) -> Deployment:
        """What scripts are sent to."""
        return _Between(super().deployment(), self)

    def before(self, args: tuple[Argument, ...]) -> None:
        """Perhaps something happens first."""
        if self._times and args[:2] == (b"EVALSHA", self._sha):
            self._times -= 1
            self._meddle()


class _Between:
    """Passes everything on to a deployment; before a command, its meddler gets a chance."""

    guard: object
    open_batches: Any
    tally: Tally
    watchdog: Ticking

    def __init__(self, deployment: Deployment, meddler: Meddler) -> None:
        self._deployment = deployment
        self._meddler = meddler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deployment, name)

    def call(
        self, args: tuple[Argument, ...], replay: Replay, born: int | None = None, bounded: bool = True
    ) -> asyncio.Future[Reply]:
        self._meddler.before(args)
        return self._deployment.call(args, replay, born, bounded)
