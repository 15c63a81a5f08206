"""Moves sessions from the legacy layout into that of this version, and from one server to another.

How one session moves, and why in this order:

* Within one database one script moves a legacy session: at any moment it is in one layout or the other, and no
  concurrent change is lost. In a cluster the move takes several steps: see ``transfer.move``.
* Two databases have no common step. The run first writes a copy at the target. It then removes the original, but only
  if that is unchanged since it was read. So an interruption at any point leaves the session at the source, at the
  target, or at both. With the copy, in one step, the run writes a marker. The next run reads it. With the marker and
  the session it merges the two (see ``transfer.adopt``). With the marker alone the session was ended at the target
  since, and the original is removed too. With neither the session has not been copied yet.
* If the original has changed meanwhile, the run removes the copy, unless the copy has been used, and reads the original
  again.
* If the original is gone and had time left, it was ended at the source: the run then ends the copy at the target too.
  For one round trip the copy lives on at the target. If this process dies in that moment, the copy lives on until it
  expires. Two servers have no common step, so one of two faults must be possible, and the other fault would be to log a
  user out.
* If a process at the source has taken the session over into the new layout, the run removes the copy, unless the copy
  has been used; the next run moves the session.
* If the session got a new id at the source meanwhile, the run ends the copy too, and moves the session under the new
  id.
* A lock, which expires, allows one run at a time for each source: two runs could take each other's work for a logout.
* A key that this version cannot read is left alone.
* Aliases are moved too: see ``aliases``.
* Sealed values are moved as the bytes that they are: see ``carried``.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace
from os import urandom
from typing import TYPE_CHECKING

from chuk_sessions import grid
from chuk_sessions.cli.aliases import Aliases
from chuk_sessions.cli.carried import encode_carried, for_sandbox, is_carried
from chuk_sessions.cli.counts import Counts
from chuk_sessions.cli.lock import Lock
from chuk_sessions.cli.stored import Alias, Keys, Problem, Stored, read, read_batch, session_keys
from chuk_sessions.exceptions import EncryptionError, MetadataError
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import (
    arrival_key,
    probe_key,
    quote_part,
    session_key,
)
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.transfer.adopt import was_ended
from chuk_sessions.providers.redis.transfer.crossing import Crossing, RedisTarget
from chuk_sessions.providers.redis.transfer.move import Move
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.replies import as_dict
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.adoption import Adoption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from chuk_sessions.codec import Metadata
    from chuk_sessions.encryption import Keyring
    from chuk_sessions.providers.redis.transfer.crossing import Target

__all__ = ["BATCH", "Counts", "migrate", "same_database"]

BATCH = 200  # sessions that are read and moved together
ATTEMPTS = 20  # how often a session is read that changes each time
SLACK = 1.0  # seconds: a session that is gone and had less than this to live counts as expired, not as ended
RANDOM_SANDBOX = re.compile(r"sandbox-[0-9a-f]{8}")
STRANDED = "no manager will use its sandbox (%s): choose another with --into, or name this one with --sandbox"
UNUSABLE = "no manager can use its sandbox (it %s): choose another with --into"
SEALED_VALUES = "its values are sealed: only a Redis server takes them"
TAKEN_OVER = "a process with SESSION_LEGACY_READ took it over at the source just now; run again"
REFUSED = {
    Adoption.CONFLICT: "its id is live at the target, under another user",
    Adoption.UNREADABLE: "the target has a record of it that this version cannot read",
}

REMOVE = Script(load("migrate_remove"), bounded=False)


async def same_database(source: Client, target: Client) -> bool:
    """Tell whether both clients use one database: a key that one writes the other can read."""
    key, token = probe_key(urandom(8)), urandom(8).hex().encode()
    await source.call(b"SET", key, token, b"PX", 10_000)
    try:
        return bool(await target.call(b"GET", key) == token)
    finally:
        await source.call(b"UNLINK", key)


async def migrate(
    source: Client,
    target: Client | Target,
    *,
    sandboxes: Collection[str] = (),
    into: str | None = None,
    dry_run: bool = False,
    batch: int = BATCH,
    progress: Callable[[Counts], None] = lambda counts: None,
    stop: Callable[[], bool] = lambda: False,
    keyring: Keyring | None = None,
) -> Counts:
    """Move all sessions, or the sessions of ``sandboxes``. Return the counts.

    ``progress`` and ``stop`` are called after each batch; the run ends when ``stop`` returns True.

    ``into`` is another sandbox for the moved sessions. Versions 0.2 to 0.6 stored a random sandbox with each session if
    they were given none, and did not read it again. Without ``into`` a legacy session is left in place as a problem if
    its sandbox is random and not among ``sandboxes``, or if no manager of this version can have that sandbox. Within
    one database a session of the new layout is moved only if its sandbox is among ``sandboxes``. ``keyring`` opens
    sealed values and seals them for that sandbox; without it a session that has any is left in place as a problem.

    A dry run counts the sessions that a run would try to move. It writes nothing but a probe key, which tells
    whether both clients use one database. Raises ProviderError if another run has the same source, or as
    ``Client.call``. A second run continues where the first one ended.
    """
    in_place = isinstance(target, Client) and await same_database(source, target)
    to = RedisTarget(target, encode=encode_carried) if isinstance(target, Client) else target
    run = _Run(source, to, in_place, sandboxes, into, dry_run, keyring)
    run.lock = lock = None if dry_run else await Lock.take(source)
    try:
        async for keys in session_keys(source, batch):
            await run.renew_lock()
            await run.move_batch(keys)
            progress(run.counts)
            if stop():
                return run.counts
        await run.move_renewed()
        if run.aliases.some_wait:
            async for keys in session_keys(source, batch):
                await run.renew_lock()
                await run.move_aliases(keys)
                if stop():
                    break
    finally:
        if lock is not None:
            await lock.release()
    return run.counts


class _Run:
    """One run: its source, its target and its counts so far."""

    def __init__(
        self,
        source: Client,
        target: Target,
        in_place: bool,
        sandboxes: Collection[str],
        into: str | None,
        dry_run: bool,
        keyring: Keyring | None = None,
    ) -> None:
        self.counts = Counts()
        self.lock: Lock | None = None
        self._source = source
        self._target = target
        self._in_place = in_place
        self._sandboxes = sandboxes
        self._into = into
        self._dry_run = dry_run
        self._keyring = keyring
        self.aliases = Aliases(source, target)
        self.renewed: Keys = []  # new and old keys of sessions that got a new id while they were moved

    async def renew_lock(self) -> None:
        """Renew the lock. Raises ProviderError if it has expired, so that another run may have the source."""
        if self.lock is not None:
            await self.lock.renew()

    async def move_batch(self, keys: Keys) -> None:
        """Move the sessions and aliases with these keys, and count them. Raise the first error when all have ended."""
        keys = list(dict.fromkeys(keys))  # SCAN may give a key twice, and the second move would take it for ended
        self.counts.seen += len(keys)
        found = await read_batch(self._source, keys)
        # All moves end before an error is raised: no move may run on after the lock is released.
        for result in await asyncio.gather(*(self._move(each) for each in found), return_exceptions=True):
            if result is not None:
                raise result

    async def move_renewed(self) -> None:
        """Move the sessions that got a new id meanwhile, unless the walk has reached their new key since."""
        while self.renewed:
            keys, self.renewed = self.renewed, []
            await self.renew_lock()
            there = await asyncio.gather(*(self._source.call(b"EXISTS", key, replay=Replay.READ) for key, _ in keys))
            await self.move_batch([key for key, exists in zip(keys, there, strict=True) if exists])

    async def move_aliases(self, keys: Keys) -> None:
        """Move the aliases whose sessions have left the source; other keys stay."""
        hashes = [(key, kind) for key, kind in dict(keys).items() if kind == b"hash"]
        found = [each for each in await read_batch(self._source, hashes) if isinstance(each, Alias)]
        moving = [self._move_alias(each) for each in found if self._is_wanted(each) and not self._stays(each)]
        for result in await asyncio.gather(*moving, return_exceptions=True):
            if result is not None:
                raise result

    async def _move_alias(self, found: Alias) -> None:
        moved = self._dry_run or await self.aliases.move(found, self._into or found.sandbox_id)
        self.counts.aliases += moved

    async def _move(self, found: Stored | Alias | Problem | None) -> None:
        counts = self.counts
        if found is None:
            counts.ended += 1
        elif isinstance(found, Problem):
            counts.add_problem(found)
        elif not self._is_wanted(found):
            counts.other_sandbox += 1
        elif self._stays(found):
            counts.here += 1
        elif isinstance(found, Alias):
            await self._move_alias(found)
        elif problem := self._stranded(found) or self._unmovable(found):
            counts.add_problem(problem)
        elif self._dry_run:
            counts.moved += 1
            counts.to_move[found.sandbox_id] += 1
        else:
            await self._move_stored(found)

    def _is_wanted(self, found: Stored | Alias) -> bool:
        """Tell whether the run is for this session's sandbox."""
        return not self._sandboxes or found.sandbox_id in self._sandboxes

    def _stays(self, found: Stored | Alias) -> bool:
        """Tell whether the session already has the layout of this version and the right sandbox."""
        moves = self._into is not None and self._sandboxes and found.sandbox_id != self._into
        return self._in_place and not (isinstance(found, Stored) and found.published) and not moves

    def _stranded(self, found: Stored) -> Problem | None:
        """Return a problem if no manager would find the session under its sandbox.

        Versions 0.2 to 0.6 did not read the stored sandbox, so that any sandbox may stand there.
        """
        if self._into is not None or not found.published:
            return None
        unusable = grid.segment_problem(found.sandbox_id)
        if unusable is not None:
            return Problem(found.key, UNUSABLE % unusable)
        if RANDOM_SANDBOX.fullmatch(found.sandbox_id) and not self._sandboxes:
            return Problem(found.key, STRANDED % "a random one")
        return None

    def _unmovable(self, found: Stored) -> Problem | None:
        """Return a problem if the session has sealed values that cannot be moved where it is to go."""
        if not isinstance(self._target, RedisTarget) and is_carried(found.record.metadata):
            return Problem(found.key, SEALED_VALUES)
        try:
            self._metadata(found)
        except EncryptionError as exc:
            return Problem(found.key, str(exc))
        return None

    def _metadata(self, found: Stored) -> Metadata:
        """Return the metadata as it is stored at the target. Raises EncryptionError as ``for_sandbox``."""
        to = self._sandbox(found)
        return for_sandbox(found.record.metadata, found.session_id, found.sandbox_id, to, self._keyring)

    async def _move_stored(self, found: Stored) -> None:
        if self._in_place and found.published:
            await self._move_in_place(found)
        else:
            await self._move_across(found)

    async def _move_in_place(self, found: Stored) -> None:
        move = Move(self._source, found.session_id, arrival=True)
        if await self._until_settled(found, move, lambda found: self._take_over(found, move)) is not None:
            await move.abandon()
            self.counts.ended += 1

    async def _move_across(self, found: Stored) -> None:
        """Move a session to another database, or to another sandbox of this database."""
        crossing = Crossing(self._target, found.session_id)
        gone = await self._until_settled(found, crossing, lambda found: self._cross(found, crossing))
        if gone is not None:
            await self._gone(gone, crossing)

    async def _until_settled(
        self, found: Stored, crossing: Crossing, attempt: Callable[[Stored], Awaitable[bool]]
    ) -> Stored | None:
        """Try again as long as the session changes.

        Return the session as it was read last if it is gone from the source; None if it was moved or is a problem.
        """
        for _ in range(ATTEMPTS):
            if await attempt(found):
                return None
            again = await read(self._source, found.key, b"string" if found.published else b"hash")
            if again is None:
                return found
            if isinstance(again, Alias):  # SCAN may not return the new key
                new_key = session_key(quote_part(again.sandbox_id), again.current_id).encode()
                self.renewed += ((new_key, b"hash"), (again.key, b"hash"))
                return found
            if isinstance(again, Problem):
                await crossing.abandon()
                self.counts.add_problem(again)
                return None
            found = again
        self.counts.add_problem(Problem(found.key, f"changed {ATTEMPTS} times while it was read; run again"))
        return None

    def _sandbox(self, found: Stored) -> str:
        return self._into or found.sandbox_id

    async def _take_over(self, found: Stored, move: Move) -> bool:
        """Move a session within the database. Return False if it changed meanwhile, and must be read again."""
        attempt = move.attempt(self._sandbox(found), found.record, found.raw[0], found.remaining(), found.sandbox_id)
        outcome = await self._report(found, attempt)
        if outcome > 0:
            self._count(outcome)
        elif outcome is Adoption.EXPIRED:
            self.counts.ended += 1
        return outcome is not Adoption.CHANGED

    async def _cross(self, found: Stored, crossing: Crossing) -> bool:
        """Move a session to the target. Return False if it changed meanwhile, and must be read again."""
        outcome = Adoption.EXPIRED
        if not await self._was_ended(found):
            outcome = await self._report(found, self._put(found, crossing))
        if outcome < 0:
            return True
        keys = (found.key,) if found.published else (found.key, arrival_key(found.key.decode()))
        removed: int = await REMOVE.run(self._source, keys, tuple(found.raw))
        if removed == 0:
            await crossing.retreat()
            return False
        if removed > 0 and not found.published:
            key, fields = _key(found.sandbox_id, found), as_dict(found.raw, "HGETALL")
            await UserIndex(self._source, found.sandbox_id).forget_record(key, fields)
        if removed > 0 and outcome > 0:
            self._count(outcome)
            await crossing.settle()
            return True
        if removed < 0:
            await self._gone(found, crossing)
        else:
            self.counts.ended += 1
        return True

    async def _put(self, found: Stored, crossing: Crossing) -> Adoption:
        # The deadline is a time of the source's clock; the target gets the remaining seconds.
        record = replace(found.record, expires=math.inf, metadata=self._metadata(found))
        origin = found.sandbox_id if found.published else None  # tombstones there keep out legacy sessions only
        return await crossing.put(self._sandbox(found), record, found.remaining(), origin)

    def _count(self, outcome: Adoption) -> None:
        self.counts.moved += 1
        self.counts.merged += outcome is Adoption.MERGED

    async def _report(self, found: Stored, putting: Awaitable[Adoption]) -> Adoption:
        """Return the outcome of an adoption; count a refusal as a problem."""
        try:
            outcome = await putting
        except (MetadataError, EncryptionError) as exc:
            self.counts.add_problem(Problem(found.key, str(exc)))
            return Adoption.UNREADABLE
        if outcome in REFUSED:
            self.counts.add_problem(Problem(found.key, REFUSED[outcome]))
        return outcome

    async def _was_ended(self, found: Stored) -> bool:
        """Tell whether a process with SESSION_LEGACY_READ ended it at the source, and another wrote it back since."""
        if not found.published:
            return False
        keys = (_key(sandbox_id, found) for sandbox_id in (found.sandbox_id, self._sandbox(found)))
        return await was_ended(self._source.begin(), found.record, *keys)

    async def _gone(self, found: Stored, crossing: Crossing) -> None:
        """Settle a session that is gone from the source: it has expired, was ended, or was taken over there."""
        if crossing.sandbox_id is not None and found.remaining() >= SLACK:
            await self.renew_lock()  # raises if the lock is lost: another run may have moved the session then
            ours = _key(found.sandbox_id, found)
            if found.published and await self._source.call(b"EXISTS", ours, replay=Replay.READ):
                await crossing.retreat()  # otherwise the copy would live on at the target after a logout at the source
                self.counts.add_problem(Problem(found.key, TAKEN_OVER))
                return
            await crossing.end()
        await crossing.abandon()
        self.counts.ended += 1


def _key(sandbox_id: str, found: Stored) -> str:
    return session_key(quote_part(sandbox_id), found.session_id)
