"""Many calls of one script as one command: the calls of one turn of the loop whose keys may share a command.

A batch is the waiter of the command, and makes its bytes when it is written. Until then calls may join. Calls whose
callers have given up are left out.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from copy import copy

from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.redis_client.client import Call, Client, Deployment
from chuk_sessions.redis_client.commands import Argument, Replay, Reply, pack
from chuk_sessions.redis_client.replies import MissingScriptError
from chuk_sessions.redis_client.scripts import Script

__all__ = ["Batch", "BatchScript"]

NOTHING: tuple[Argument, ...] = ()
MAX_BATCH = 64  # keys: a script with so many runs some 0.1 ms, and the server serves no other client meanwhile


class BatchScript:
    """A script that gives one result for each of its keys: calls of one turn of the loop leave as one command.

    For one key it may reply the result itself, if that is a whole number or a list of more than one item: one more list
    costs the server half as much as the key.

    To start a script costs the server far more than one more key. In a cluster only calls for keys of one slot share a
    command, in any order of the calls.

    Arguments that are ``usual``, those for all keys and the one for each key, are not sent with a lone key.
    """

    def __init__(self, source: str, usual: tuple[tuple[Argument, ...], Argument] | None = None) -> None:
        self._script = Script(source)
        self._usual = usual
        # The arguments of the last command for one key, and its bytes before and after the key; in one tuple, as other
        # threads have loops too.
        self._last: tuple[tuple[Argument, ...] | None, bytes, bytes] = None, b"", b""

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
        future: asyncio.Future[Reply] = get_running_loop().create_future()
        batch = deployment.open_batches.get(slot)
        if batch is not None and batch.takes(self, args, born):
            batch.calls.append((key, own, future))
        else:
            batch = Batch(self, args, born, slot, deployment, [(key, own, future)])
            deployment.send_open(batch, replay, slot, born)
        try:
            return await future
        except MissingScriptError as missing:
            lost = missing.lost
        if own is not None:
            args = (*args, own)
        results = await self._script.run_anew(deployment, (key,), args, replay, born, lost)
        if type(results) is int or (type(results) is list and len(results) > 1):
            return results
        if not isinstance(results, list) or len(results) != 1:
            raise ProviderError("the reply of the server is not one result for each key")
        if isinstance(results[0], ServerError):
            raise results[0]
        return results[0]

    def pack(self, keys: list[str], args: tuple[Argument, ...], own: list[Argument]) -> bytes:
        """Make the bytes of a command for these keys, with the arguments of all and those of each key."""
        return pack((b"EVALSHA", self._script.sha, b"%d" % len(keys), *keys, *args, *own))

    def args_of_one(self, args: tuple[Argument, ...], own: Argument | None) -> tuple[Argument, ...] | None:
        """Return the arguments that are sent for a lone key; None if they have one that is of this key alone."""
        if own is None:
            return args
        return NOTHING if (args, own) == self._usual else None

    def pack_one(self, key: str, args: tuple[Argument, ...]) -> bytes:
        """Make the bytes of a command for one key without an own argument, as ``pack`` does."""
        like, head, tail = self._last
        if like != args:
            head = b"*%d\r\n" % (4 + len(args)) + _without_count(pack((b"EVALSHA", self._script.sha, b"1")))
            tail = _without_count(pack(args))
            self._last = args, head, tail
        name = key.encode()
        return b"%b$%d\r\n%b\r\n%b" % (head, len(name), name, tail)


def _without_count(packed: bytes) -> bytes:
    """Return the arguments of a packed command, without their number."""
    return packed.partition(b"\r\n")[2]


class Batch:
    """The callers of one command with many keys; a ``Waiter``. It takes more callers until it is written."""

    __slots__ = ("_args", "_deployment", "_script", "_slot", "_tick", "calls", "written")

    def __init__(
        self,
        script: BatchScript,
        args: tuple[Argument, ...],
        tick: int,
        slot: int,
        deployment: Deployment,
        calls: list[tuple[str, Argument | None, asyncio.Future[Reply]]],
    ) -> None:
        self._script = script
        self._args = args
        self._tick = tick
        self._slot = slot
        self._deployment = deployment
        self.calls = calls  # for each caller: the key, the own argument of that key, a future of the result
        self.written = False

    def takes(self, script: BatchScript, args: tuple[Argument, ...], tick: int) -> bool:
        """Tell whether a call of this script, with these arguments and this tick, may join."""
        return (
            not self.written
            and len(self.calls) < MAX_BATCH
            and tick == self._tick
            and script is self._script
            and args == self._args
        )

    def pack(self) -> bytes:
        """Make the bytes of the command, without callers that gave up. Called at the write; no call joins after it."""
        self.written = True
        deployment, calls = self._deployment, self.calls
        if deployment.open_batches.get(self._slot) is self:
            del deployment.open_batches[self._slot]
        tally = deployment.tally
        tally.scripts += 1
        if len(calls) == 1:  # the caller waits: the connection has looked
            key, own, _ = calls[0]
            args = self._script.args_of_one(self._args, own)
            if args is not None:
                tally.keys += 1
                return self._script.pack_one(key, args)
        self.calls = calls = [call for call in calls if not call[2].done()]
        tally.keys += len(calls)
        each = [own for _, own, _ in calls if own is not None]
        return self._script.pack([key for key, _, _ in calls], self._args, each)

    def split(self) -> list[Batch]:
        """Return a batch for each key and its caller; no batch if there is only one key, which cannot be split."""
        parts = []
        for call in self.calls if len(self.calls) > 1 else ():
            part = Batch(self._script, self._args, self._tick, self._slot, self._deployment, [call])
            part.written = True
            parts.append(part)
        return parts

    def done(self) -> bool:
        """Tell whether no caller waits any more. Then the batch may never be written, so no call may join it either."""
        for _, _, future in self.calls:
            if not future.done():
                return False
        self.written = True
        return True

    def set_result(self, results: Reply) -> None:
        """Give each caller the result for its key."""
        calls = self.calls
        if len(calls) == 1 and (type(results) is int or (type(results) is list and len(results) > 1)):
            future = calls[0][2]
            if not future.done():
                future.set_result(results)
            return
        if not isinstance(results, list) or len(results) != len(calls):
            self.set_exception(ProviderError("the reply of the server is not one result for each key"))
            return
        for (_, _, future), result in zip(calls, results, strict=True):
            if future.done():
                continue
            if isinstance(result, ServerError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def set_exception(self, exception: Exception) -> None:
        """Give each caller the error."""
        self.written = True
        for _, _, future in self.calls:
            if not future.done():
                own = copy(exception)  # one exception in several tasks would collect the tracebacks of all
                own.__cause__ = exception.__cause__
                future.set_exception(own)
