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

__all__ = ["Batch", "BatchScript", "result_of_one"]

NOTHING: tuple[Argument, ...] = ()
MAX_BATCH = 64  # keys: a script with so many runs some 0.1 ms, and the server serves no other client meanwhile

BEFORE = [b"$%d\r\n" % size for size in range(256)]  # what precedes an argument of so many bytes
OneCall = tuple[str, Argument | None, "asyncio.Future[Reply]"]  # a key, the own argument of it, a future of the result


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
        try:
            return await self.begin(call, key, args, replay, own)
        except MissingScriptError as missing:
            lost = missing.lost
        return await self.run_anew(call, key, args, replay, own, lost)

    def begin(
        self,
        call: Call,
        key: str,
        args: tuple[Argument, ...],
        replay: Replay = Replay.NEVER,
        own: Argument | None = None,
    ) -> asyncio.Future[Reply]:
        """Send the script for one key; see ``step``. After a MissingScriptError ``run_anew`` must do the rest."""
        deployment, born = call
        slot = deployment.slot_of(key)
        future: asyncio.Future[Reply] = get_running_loop().create_future()
        batch = deployment.open_batches.get(slot)
        if batch is None or not batch.join(self, args, born, key, own, future):
            batch = Batch()
            batch.script = self
            batch.args = args
            batch.tick = born
            batch.slot = slot
            batch.deployment = deployment
            batch.key = key
            batch.own = own
            batch.future = future
            batch.calls = None
            batch.written = False
            deployment.send_open(batch, replay, slot, born)
        return future

    async def run_anew(
        self,
        call: Call,
        key: str,
        args: tuple[Argument, ...],
        replay: Replay,
        own: Argument | None,
        lost: str,
    ) -> Reply:
        """Run the script for one key on a server that did not know it; ``lost`` is that of the MissingScriptError."""
        deployment, born = call
        if own is not None:
            args = (*args, own)
        return result_of_one(await self._script.run_anew(deployment, (key,), args, replay, born, lost))

    def pack(self, keys: list[str], args: tuple[Argument, ...], own: list[Argument]) -> bytes:
        """Make the bytes of a command for these keys, with the arguments of all and those of each key."""
        return pack((b"EVALSHA", self._script.sha, b"%d" % len(keys), *keys, *args, *own))

    def args_of_one(self, args: tuple[Argument, ...], own: Argument) -> tuple[Argument, ...] | None:
        """Return the arguments that are sent for a lone key; None if they have one that is of this key alone."""
        return NOTHING if (args, own) == self._usual else None

    def pack_one(self, key: str, args: tuple[Argument, ...]) -> bytes:
        """Make the bytes of a command for one key without an own argument, as ``pack`` does."""
        like, head, tail = self._last
        if like != args:
            head = b"*%d\r\n" % (4 + len(args)) + _without_count(pack((b"EVALSHA", self._script.sha, b"1")))
            tail = b"\r\n" + _without_count(pack(args))
            self._last = args, head, tail
        name = key.encode()
        size = len(name)
        before = BEFORE[size] if size < len(BEFORE) else b"$%d\r\n" % size
        return b"".join((head, before, name, tail))


def result_of_one(results: Reply) -> Reply:
    """Return the result for the only key of a command. Raises its error, and ProviderError for another reply."""
    if type(results) is int or (type(results) is list and len(results) > 1):
        return results
    if not isinstance(results, list) or len(results) != 1:
        raise ProviderError("the reply of the server is not one result for each key")
    if isinstance(results[0], ServerError):
        raise results[0]
    return results[0]


def _without_count(packed: bytes) -> bytes:
    """Return the arguments of a packed command, without their number."""
    return packed.partition(b"\r\n")[2]


class Batch:
    """The callers of one command with many keys; a ``Waiter``. It takes more callers until it is written.

    Who makes one sets all attributes: a function that does so would take longer than all else of a batch for one call.
    """

    __slots__ = ("args", "calls", "deployment", "future", "key", "own", "script", "slot", "tick", "written")

    script: BatchScript
    args: tuple[Argument, ...]
    tick: int
    slot: int
    deployment: Deployment
    key: str  # those of the first caller: the key, the own argument of that key, a future of the result
    own: Argument | None
    future: asyncio.Future[Reply]
    calls: list[OneCall] | None  # all callers, once there were two
    written: bool

    def join(
        self,
        script: BatchScript,
        args: tuple[Argument, ...],
        tick: int,
        key: str,
        own: Argument | None,
        future: asyncio.Future[Reply],
    ) -> bool:
        """Take one more caller, if this is a call of the same script, with these arguments and this tick.

        Return whether it was taken.
        """
        if self.written or tick != self.tick or script is not self.script or args != self.args:
            return False
        calls = self.calls
        if calls is None:
            self.calls = [(self.key, self.own, self.future), (key, own, future)]
        elif len(calls) < MAX_BATCH:
            calls.append((key, own, future))
        else:
            return False
        return True

    def pack(self) -> bytes:
        """Make the bytes of the command, without callers that gave up. Called at the write; no call joins after it."""
        self.written = True
        deployment, calls = self.deployment, self.calls
        if deployment.open_batches.get(self.slot) is self:
            del deployment.open_batches[self.slot]
        tally = deployment.tally
        tally.scripts += 1
        if calls is None:  # the caller waits: the connection has looked
            args = self.args if self.own is None else self.script.args_of_one(self.args, self.own)
            if args is not None:
                return self.script.pack_one(self.key, args)
            calls = [(self.key, self.own, self.future)]
        else:
            self.calls = calls = [call for call in calls if not call[2].done()]
            tally.joined += len(calls) - 1
        each = [own for _, own, _ in calls if own is not None]
        return self.script.pack([key for key, _, _ in calls], self.args, each)

    def split(self) -> list[Batch]:
        """Return a batch for each key and its caller; no batch if there is only one key, which cannot be split."""
        parts = []
        for call in self.calls if self.calls is not None and len(self.calls) > 1 else ():
            part = copy(self)
            part.key, part.own, part.future = call
            part.calls, part.written = None, True
            parts.append(part)
        return parts

    def done(self) -> bool:
        """Tell whether no caller waits any more. Then the batch may never be written, so no call may join it either."""
        if self.calls is None:
            if not self.future.done():
                return False
        else:
            for _, _, future in self.calls:
                if not future.done():
                    return False
        self.written = True
        return True

    def set_result(self, results: Reply) -> None:
        """Give each caller the result for its key."""
        calls = self.calls
        if (calls is None or len(calls) == 1) and (
            type(results) is int or (type(results) is list and len(results) > 1)
        ):
            future = self.future if calls is None else calls[0][2]
            if not future.done():
                future.set_result(results)
            return
        if calls is None:
            calls = [(self.key, self.own, self.future)]
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
        for future in [self.future] if self.calls is None else [future for _, _, future in self.calls]:
            if not future.done():
                own = copy(exception)  # one exception in several tasks would collect the tracebacks of all
                own.__cause__ = exception.__cause__
                future.set_exception(own)
