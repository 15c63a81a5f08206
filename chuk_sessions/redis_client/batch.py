"""Many calls of one script as one command: the calls of one turn of the loop whose keys may share a command.

A batch is the waiter of the command, and makes its bytes when it is written. Until then calls may join. Calls whose
callers have given up are left out.
"""

from __future__ import annotations

import asyncio
from copy import copy

from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.redis_client.client import Call, Client
from chuk_sessions.redis_client.commands import Argument, Replay, Reply, pack
from chuk_sessions.redis_client.open_batches import Tally
from chuk_sessions.redis_client.replies import MissingScriptError
from chuk_sessions.redis_client.scripts import Script

__all__ = ["Batch", "BatchScript"]

MAX_BATCH = 64  # keys: a script with so many runs some 0.1 ms, and the server serves no other client meanwhile


class BatchScript:
    """A script that gives one result for each of its keys: calls of one turn of the loop leave as one command.

    To start a script costs the server far more than one more key. In a cluster only calls for keys of one slot share a
    command, in any order of the calls.
    """

    def __init__(self, source: str) -> None:
        self._script = Script(source)

    async def run(
        self,
        client: Client,
        key: str,
        args: tuple[Argument, ...],
        replay: Replay = Replay.NEVER,
        own: Argument | None = None,
    ) -> Reply:
        """Run the script for one key. Return the result for this key. The errors are those of ``Client.call``.

        ``args`` are for all keys of a command: calls with equal arguments share it. ``own`` is an argument for this key
        alone, and comes after them; a script takes one such argument for each key, or none at all.
        """
        return await self.step(client.begin(), key, args, replay, own)

    async def step(
        self,
        call: Call,
        key: str,
        args: tuple[Argument, ...],
        replay: Replay = Replay.NEVER,
        own: Argument | None = None,
    ) -> Reply:
        """Run the script as one step of a call, with the deadline of that call."""
        deployment, born = call
        slot = deployment.slot_of(key)
        batch = deployment.open_batches[slot]
        if not isinstance(batch, Batch) or not batch.takes(self._script.sha, args, born, slot):
            batch = Batch(self._script.sha, args, born, slot, deployment.tally)
            future = batch.add(key, own)
            deployment.send(batch, batch.pack, replay, slot, born)
            deployment.open_batches[slot] = batch if deployment.is_up(slot) else None  # later calls may join it
        else:
            future = batch.add(key, own)
        try:
            return await future
        except MissingScriptError as missing:
            lost = missing.lost
        if own is not None:
            args = (*args, own)
        results = await self._script.run_anew(deployment, (key,), args, replay, born, lost)
        if not isinstance(results, list) or len(results) != 1:
            raise ProviderError("the reply of the server is not one result for each key")
        if isinstance(results[0], ServerError):
            raise results[0]
        return results[0]


class Batch:
    """The callers of one command with many keys; a ``Waiter``. It takes more callers until it is written."""

    __slots__ = ("_args", "_calls", "_sha", "_slot", "_tally", "_tick", "written")

    def __init__(self, sha: bytes, args: tuple[Argument, ...], tick: int, slot: int, tally: Tally) -> None:
        self._sha = sha
        self._args = args
        self._tick = tick
        self._slot = slot
        self._tally = tally
        self._calls: list[tuple[str, Argument | None, asyncio.Future[Reply]]] = []  # key, own argument, the caller's
        self.written = False

    def takes(self, sha: bytes, args: tuple[Argument, ...], tick: int, slot: int) -> bool:
        """Tell whether a call of this script, with these arguments and this tick, for a key of this slot, may join."""
        return (
            not self.written
            and len(self._calls) < MAX_BATCH
            and tick == self._tick
            and slot == self._slot
            and sha is self._sha
            and args == self._args
        )

    def add(self, key: str, own: Argument | None = None) -> asyncio.Future[Reply]:
        """Add a call, with its own argument if the script takes one. Return a future of the result for ``key``."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls.append((key, own, future))
        return future

    def pack(self) -> bytes:
        """Make the bytes of the command, without callers that gave up. Called at the write; no call joins after it."""
        self.written = True
        self._calls = calls = [call for call in self._calls if not call[2].done()]
        keys = [key for key, _, _ in calls]
        own = [own for _, own, _ in calls if own is not None]
        packed = pack((b"EVALSHA", self._sha, len(keys), *keys, *self._args, *own))
        self._tally.scripts += 1
        self._tally.keys += len(keys)
        return packed

    def split(self) -> list[Batch]:
        """Return a batch for each key and its caller; no batch if there is only one key, which cannot be split."""
        parts = []
        for call in self._calls if len(self._calls) > 1 else ():
            part = Batch(self._sha, self._args, self._tick, self._slot, self._tally)
            part._calls, part.written = [call], True
            parts.append(part)
        return parts

    def done(self) -> bool:
        """Tell whether no caller waits any more. Then the batch may never be written, so no call may join it either."""
        for _, _, future in self._calls:
            if not future.done():
                return False
        self.written = True
        return True

    def set_result(self, results: Reply) -> None:
        """Give each caller the result for its key."""
        if not isinstance(results, list) or len(results) != len(self._calls):
            self.set_exception(ProviderError("the reply of the server is not one result for each key"))
            return
        for (_, _, future), result in zip(self._calls, results, strict=True):
            if future.done():
                continue
            if isinstance(result, ServerError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def set_exception(self, exception: Exception) -> None:
        """Give each caller the error."""
        self.written = True
        for _, _, future in self._calls:
            if not future.done():
                own = copy(exception)  # one exception in several tasks would collect the tracebacks of all
                own.__cause__ = exception.__cause__
                future.set_exception(own)
