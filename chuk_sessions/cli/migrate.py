"""Moves sessions: from the published layout into ours, and from one server to another.

How one session moves, and why in this order:

* Within one database a published session is moved by one script: it is in one layout or the other at any moment, and
  nothing that happens at the same time is lost. In a cluster it takes several steps: see ``transfer.move``.
* Between two databases there is no such step. The session is put at the target first, and the original is removed only
  if it is still what was read: an interruption at any point leaves it at least once. A note that is put with it, in one
  step, tells the next run what to do: with the session there, the two are put together (see ``transfer.adopt``); with
  the note alone, it was ended at the target since, and the original goes too. With neither it had not come yet.
* If the original changed meanwhile, what this run put is removed again, unless it has been used, and it is read again.
* If the original is gone by then, and had time left, it was ended at the source: then it is ended at the target too.
  Between putting and that it lives at the target, one round trip long. If this process dies in just that moment, it
  goes on living there until it expires: two servers have no common step, so one of two wrongs must be possible, and
  the other one would be to log somebody out.
* If it was taken over into our layout at the source, what was put is removed again, unless it has been used; the next
  run moves it.
* If it was given a new id at the source meanwhile, it is ended at the target likewise, and moved under the new id.
* One run at a time for each source, as two could take each other's work for a logout: a lock, which expires.
* What is not understood is not touched.
* Old ids that lead to a session for a while are taken along: see ``aliases``.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from os import urandom
from typing import TYPE_CHECKING

from chuk_sessions import grid
from chuk_sessions.cli.aliases import Aliases
from chuk_sessions.cli.lock import Lock
from chuk_sessions.cli.stored import Alias, Keys, Problem, Stored, read, read_batch, session_keys
from chuk_sessions.exceptions import MetadataError
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

    from chuk_sessions.providers.redis.transfer.crossing import Target

__all__ = ["BATCH", "Counts", "migrate", "same_database"]

BATCH = 200  # sessions that are read and moved together
ATTEMPTS = 20  # readings of a session that changes each time
MAX_PROBLEMS = 1000  # that are kept for the report; all are counted
SLACK = 1.0  # seconds: a session that had less than that to live is taken for expired, not for ended
RANDOM_SANDBOX = re.compile(r"sandbox-[0-9a-f]{8}")
STRANDED = "its sandbox is none that a manager here will have (%s): give it one with --into, or name it with --sandbox"
UNUSABLE = "its sandbox is none that a manager here can have (it %s): give it one with --into"
TAKEN_OVER = "a process with SESSION_LEGACY_READ took it over at the source just now; run again"
REFUSED = {
    Adoption.CONFLICT: "its id is live at the target, under another user",
    Adoption.UNREADABLE: "the target has a record of it that this version cannot read",
}

REMOVE = Script(load("migrate_remove"), bounded=False)


@dataclass
class Counts:
    """What a run did. ``problems`` were left in place; ``left_behind`` counts them all."""

    seen: int = 0
    moved: int = 0
    merged: int = 0  # of those moved: with one that was at the target already
    here: int = 0  # in our layout, in the database that is source and target
    other_sandbox: int = 0
    aliases: int = 0  # old ids of renewed sessions, which were taken along
    ended: int = 0  # deleted or expired before they could be moved
    left_behind: int = 0
    problems: list[Problem] = field(default_factory=list)
    to_move: Counter[str] = field(default_factory=Counter)  # by sandbox, in a dry run

    def summary(self) -> str:
        """See ``Progress``."""
        return f"moved {self.moved}, ended {self.ended}, left in place {self.left_behind}"

    def add_problem(self, problem: Problem) -> None:
        """Count it, and keep it if there are not too many."""
        self.left_behind += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


async def same_database(source: Client, target: Client) -> bool:
    """Whether both are one database of one server: what one writes the other reads."""
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
) -> Counts:
    """Move all sessions, or those of ``sandboxes``; what was done. ``stop`` is asked, and ``progress`` told, per batch.

    ``into`` gives the sessions that are moved another sandbox: published versions that were given none stored a random
    one with each session, and did not look at it. Without it, published sessions of a random sandbox that is not among
    ``sandboxes``, or of one that cannot be used here, are left in place as a problem. Within one database sessions of
    our layout are moved only if ``sandboxes`` has theirs.

    A dry run counts what a run would begin with, and writes nothing but the probe that tells whether both are one
    database. Raises ProviderError if another run has the same source, or as ``Client.call``; running it again goes on
    where it ended.
    """
    in_place = isinstance(target, Client) and await same_database(source, target)
    to = RedisTarget(target) if isinstance(target, Client) else target
    run = _Run(source, to, in_place, sandboxes, into, dry_run)
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
    """One run: its two ends and what it has done so far."""

    def __init__(
        self,
        source: Client,
        target: Target,
        in_place: bool,
        sandboxes: Collection[str],
        into: str | None,
        dry_run: bool,
    ) -> None:
        self.counts = Counts()
        self.lock: Lock | None = None
        self._source = source
        self._target = target
        self._in_place = in_place
        self._sandboxes = sandboxes
        self._into = into
        self._dry_run = dry_run
        self.aliases = Aliases(source, target)
        self.renewed: Keys = []  # the new and old keys of sessions that were given a new id while they were moved

    async def renew_lock(self) -> None:
        """Raise ProviderError if another run may have the source by now."""
        if self.lock is not None:
            await self.lock.renew()

    async def move_batch(self, keys: Keys) -> None:
        keys = list(dict.fromkeys(keys))  # SCAN may give one twice, and the second move would take it for ended
        self.counts.seen += len(keys)
        found = await read_batch(self._source, keys)
        # All settle before an error is told: nothing may go on when the lock has been given back.
        for result in await asyncio.gather(*(self._move(each) for each in found), return_exceptions=True):
            if result is not None:
                raise result

    async def move_renewed(self) -> None:
        """Move what was given a new id meanwhile, unless that was met since."""
        while self.renewed:
            keys, self.renewed = self.renewed, []
            await self.renew_lock()
            there = await asyncio.gather(*(self._source.call(b"EXISTS", key, replay=Replay.READ) for key, _ in keys))
            await self.move_batch([key for key, exists in zip(keys, there, strict=True) if exists])

    async def move_aliases(self, keys: Keys) -> None:
        """Move those whose sessions have left the source; all else stays."""
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
        elif problem := self._stranded(found):
            counts.add_problem(problem)
        elif self._dry_run:
            counts.moved += 1
            counts.to_move[found.sandbox_id] += 1
        else:
            await self._move_stored(found)

    def _is_wanted(self, found: Stored | Alias) -> bool:
        """Of one of the sandboxes that the run is for."""
        return not self._sandboxes or found.sandbox_id in self._sandboxes

    def _stays(self, found: Stored | Alias) -> bool:
        """In our layout already, and in the sandbox it shall have."""
        moves = self._into is not None and self._sandboxes and found.sandbox_id != self._into
        return self._in_place and not (isinstance(found, Stored) and found.published) and not moves

    def _stranded(self, found: Stored) -> Problem | None:
        """Published versions did not look at the sandbox, so that any will do there; here no manager would find it."""
        if self._into is not None or not found.published:
            return None
        unusable = grid.segment_problem(found.sandbox_id)
        if unusable is not None:
            return Problem(found.key, UNUSABLE % unusable)
        if RANDOM_SANDBOX.fullmatch(found.sandbox_id) and not self._sandboxes:
            return Problem(found.key, STRANDED % "a random one")
        return None

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
        """To another database, or to another sandbox of this one."""
        crossing = Crossing(self._target, found.session_id)
        gone = await self._until_settled(found, crossing, lambda found: self._cross(found, crossing))
        if gone is not None:
            await self._gone(gone, crossing)

    async def _until_settled(
        self, found: Stored, crossing: Crossing, attempt: Callable[[Stored], Awaitable[bool]]
    ) -> Stored | None:
        """Try again as often as the session changes; what was read last, if it is gone then and all else is settled."""
        for _ in range(ATTEMPTS):
            if await attempt(found):
                return None
            again = await read(self._source, found.key, b"string" if found.published else b"hash")
            if again is None:
                return found
            if isinstance(again, Alias):  # SCAN may not come by the new key
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
        """Whether that is settled; False if the session changed."""
        attempt = move.attempt(self._sandbox(found), found.record, found.raw[0], found.remaining(), found.sandbox_id)
        outcome = await self._report(found, attempt)
        if outcome > 0:
            self._count(outcome)
        elif outcome is Adoption.EXPIRED:
            self.counts.ended += 1
        return outcome is not Adoption.CHANGED

    async def _cross(self, found: Stored, crossing: Crossing) -> bool:
        """Whether that is settled; False if the session changed."""
        outcome = Adoption.EXPIRED
        if not await self._was_ended(found):
            # The deadline as a time is the source's; what counts at the target is how much is left.
            record = replace(found.record, expires=math.inf)
            origin = found.sandbox_id if found.published else None  # what ended there keeps old copies out, not ours
            putting = crossing.put(self._sandbox(found), record, found.remaining(), origin)
            outcome = await self._report(found, putting)
        if outcome < 0:
            return True
        keys = (found.key,) if found.published else (found.key, arrival_key(found.key.decode()))
        removed: int = await REMOVE.run(self._source, keys, tuple(found.raw))
        if removed == 0:
            await crossing.retreat()
            return False
        if removed > 0 and not found.published:
            key, fields = _key(found.sandbox_id, found), as_dict(found.raw)
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

    def _count(self, outcome: Adoption) -> None:
        self.counts.moved += 1
        self.counts.merged += outcome is Adoption.MERGED

    async def _report(self, found: Stored, putting: Awaitable[Adoption]) -> Adoption:
        """The outcome of putting it at the target, which is reported if it is a refusal."""
        try:
            outcome = await putting
        except MetadataError as exc:
            self.counts.add_problem(Problem(found.key, str(exc)))
            return Adoption.UNREADABLE
        if outcome in REFUSED:
            self.counts.add_problem(Problem(found.key, REFUSED[outcome]))
        return outcome

    async def _was_ended(self, found: Stored) -> bool:
        """Whether a process with SESSION_LEGACY_READ ended it at the source, and another wrote it back since."""
        if not found.published:
            return False
        keys = (_key(sandbox_id, found) for sandbox_id in (found.sandbox_id, self._sandbox(found)))
        return await was_ended(self._source.begin(), found.record, *keys)

    async def _gone(self, found: Stored, crossing: Crossing) -> None:
        """It is gone at the source: it has expired, was ended there, or was taken over there into our layout."""
        if crossing.sandbox_id is not None and found.remaining() >= SLACK:
            await self.renew_lock()  # raises if it is lost: then it may be another run that has moved the session
            ours = _key(found.sandbox_id, found)
            if found.published and await self._source.call(b"EXISTS", ours, replay=Replay.READ):
                await crossing.retreat()  # or it would live on there, whenever it is ended here
                self.counts.add_problem(Problem(found.key, TAKEN_OVER))
                return
            await crossing.end()
        await crossing.abandon()
        self.counts.ended += 1


def _key(sandbox_id: str, found: Stored) -> str:
    return session_key(quote_part(sandbox_id), found.session_id)
