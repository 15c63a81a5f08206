"""Moves sessions: from the published layout into ours, and from one server to another.

How one session moves, and why in this order:

* Within one database a published session is moved by one script: it is in one layout or the other at any moment, and
  nothing that happens at the same time is lost. In a cluster it takes several steps: see ``redis_move``.
* Between two databases there is no such step. The session is put at the target first, and the original is removed only
  if it is still what was read: an interruption at any point leaves it at least once, and the next run puts the two
  together (see ``redis_transfer``). If the original changed meanwhile, it is read again.
* If the original is gone by then, and had time left, it was ended at the source: then it is ended at the target too.
  Between putting and that it lives at the target, one round trip long. If this process dies in just that moment, it
  goes on living there until it expires: two servers have no common step, so one of two wrongs must be possible, and
  the other one would be to log somebody out.
* One run at a time for each source, as two could take each other's work for a logout: a lock, which expires.
* What is not understood is not touched.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field, replace
from os import urandom
from typing import TYPE_CHECKING

from chuk_sessions.adoption import Adoption
from chuk_sessions.exceptions import ProviderError, SessionError
from chuk_sessions.models import MICROSECONDS
from chuk_sessions.providers.redis_move import Move
from chuk_sessions.providers.redis_transfer import tombstone_key
from chuk_sessions.providers.redis_user_index import UserIndex
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.session_ids import quote_part, session_key
from chuk_sessions.tools.enumeration import session_keys
from chuk_sessions.tools.stored import Problem, Stored, read, read_batch
from chuk_sessions.tools.targets import RedisTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from chuk_sessions.tools.targets import Target

__all__ = ["BATCH", "Counts", "migrate", "same_database"]

BATCH = 200  # sessions that are read and moved together
ATTEMPTS = 20  # readings of a session that changes each time
LOCK = b"chuk-sessions:migrate"
LOCK_MILLISECONDS = 60_000  # longer than any batch takes; a run that was killed blocks the next one for so long
MAX_PROBLEMS = 1000  # that are kept for the report; all are counted
REFUSED = {
    Adoption.CONFLICT: "its id is live at the target, under another user",
    Adoption.UNREADABLE: "the target has a record of it that this version cannot read",
}

# 1 if the key held exactly that and was removed, 0 if it holds something else, -1 if it is gone. A hash is given as
# its fields and values, a text as one argument.
REMOVE = Script("""
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then return -1 end
if #ARGV == 1 then
  if redis.pcall('GET', key) ~= ARGV[1] then return 0 end
else
  if redis.pcall('HLEN', key) ~= #ARGV / 2 then return 0 end
  for i = 1, #ARGV, 2 do
    if redis.call('HGET', key, ARGV[i]) ~= ARGV[i + 1] then return 0 end
  end
end
redis.call('UNLINK', key)
return 1
""")
RENEW = Script("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0")
UNLOCK = Script("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0")


@dataclass
class Counts:
    """What a run did. ``problems`` were left in place; ``left_behind`` counts them all."""

    seen: int = 0
    moved: int = 0
    merged: int = 0  # of those moved: with one that was at the target already
    here: int = 0  # in our layout, in the database that is source and target
    other_sandbox: int = 0
    ended: int = 0  # deleted or expired before they could be moved
    left_behind: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add_problem(self, problem: Problem) -> None:
        """Count it, and keep it if there are not too many."""
        self.left_behind += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


async def same_database(source: Client, target: Client) -> bool:
    """Whether both are one database of one server: what one writes the other reads."""
    key, token = b"chuk-sessions:same:" + urandom(8).hex().encode(), urandom(8).hex().encode()
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
    one with each session, and did not look at it.

    A dry run counts what a run would begin with, and writes nothing but the probe that tells whether both are one
    database. Raises ProviderError if another run has the same source, or as ``Client.call``; running it again goes on
    where it ended.
    """
    in_place = isinstance(target, Client) and await same_database(source, target)
    to = RedisTarget(target) if isinstance(target, Client) else target
    run = _Run(source, to, in_place, sandboxes, into, dry_run)
    run.lock = lock = None if dry_run else await _Lock.take(source)
    try:
        async for keys in session_keys(source, batch):
            if lock is not None:
                await lock.renew()
            await run.move_batch(keys)
            progress(run.counts)
            if stop():
                break
    finally:
        if lock is not None:
            await lock.release()
    return run.counts


class _Lock:
    """Held by one run for each source database."""

    def __init__(self, client: Client, token: bytes) -> None:
        self._client = client
        self._token = token

    @classmethod
    async def take(cls, client: Client) -> _Lock:
        token = urandom(16).hex().encode()
        if await client.call(b"SET", LOCK, token, b"NX", b"PX", LOCK_MILLISECONDS) is None:
            raise ProviderError("another migration from this database is running, or was killed less than a minute ago")
        return cls(client, token)

    async def renew(self) -> None:
        if not await RENEW.run(self._client, (LOCK,), (self._token, LOCK_MILLISECONDS)):
            raise ProviderError("this migration stood still for a minute and was given up; run it again")

    async def release(self) -> None:
        await UNLOCK.run(self._client, (LOCK,), (self._token,))


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
        self.lock: _Lock | None = None
        self._source = source
        self._target = target
        self._in_place = in_place
        self._sandboxes = sandboxes
        self._into = into
        self._dry_run = dry_run

    async def move_batch(self, keys: list[tuple[bytes, bytes]]) -> None:
        keys = list(dict.fromkeys(keys))  # SCAN may give one twice, and the second move would take it for ended
        self.counts.seen += len(keys)
        found = await read_batch(self._source, keys)
        # All settle before an error is told: nothing may go on when the lock has been given back.
        for result in await asyncio.gather(*(self._move(each) for each in found), return_exceptions=True):
            if result is not None:
                raise result

    async def _move(self, found: Stored | Problem | None) -> None:
        counts = self.counts
        if found is None:
            counts.ended += 1
        elif isinstance(found, Problem):
            counts.add_problem(found)
        elif self._sandboxes and found.sandbox_id not in self._sandboxes:
            counts.other_sandbox += 1
        elif self._in_place and not found.published:
            counts.here += 1
        elif self._dry_run:
            counts.moved += 1
        else:
            await self._move_stored(found)

    async def _move_stored(self, found: Stored) -> None:
        kind, move = b"string" if found.published else b"hash", Move(self._source, found.session_id)
        for _ in range(ATTEMPTS):
            found.sandbox_id = self._into or found.sandbox_id
            if await (self._move_in_place(found, move) if self._in_place else self._move_across(found)):
                return
            again = await read(self._source, found.key, kind)
            if not isinstance(again, Stored):
                await move.abandon()
                await self._move(again)
                return
            found = again
        self.counts.add_problem(Problem(found.key, f"changed {ATTEMPTS} times while it was read; run again"))

    async def _move_in_place(self, found: Stored, move: Move) -> bool:
        """Whether that is settled; False if the session changed."""
        sandbox = quote_part(found.sandbox_id)
        outcome = await self._report(found, move.attempt(sandbox, found.record, found.raw[0], found.left))
        if outcome > 0:
            self._count(outcome)
        elif outcome is Adoption.EXPIRED:
            self.counts.ended += 1
        return outcome is not Adoption.CHANGED

    async def _move_across(self, found: Stored) -> bool:
        """Whether that is settled; False if the session changed."""
        begun = time.monotonic()
        outcome = Adoption.EXPIRED
        if not await self._was_ended(found):
            # The deadline as a time is the source's; what counts at the target is how much is left.
            record = replace(found.record, expires=math.inf)
            putting = self._target.adopt(found.sandbox_id, found.session_id, record, found.left)
            outcome = await self._report(found, putting)
        if outcome < 0:
            return True
        removed: int = await REMOVE.run(self._source, (found.key,), tuple(found.raw))
        if removed > 0 and not found.published:
            fields = dict(zip(found.raw[::2], found.raw[1::2], strict=True))
            await UserIndex(self._source, found.sandbox_id).forget_record(_key(found), fields)
        if removed > 0 and outcome > 0:
            self._count(outcome)
        elif removed != 0:
            self.counts.ended += 1
        if removed < 0 and outcome > 0 and time.monotonic() - begun < found.left:
            if self.lock is not None:
                await self.lock.renew()  # raises if it is lost: then it may be another run that has moved the session
            await self._end_at_target(found)
        return removed != 0

    def _count(self, outcome: Adoption) -> None:
        self.counts.moved += 1
        self.counts.merged += outcome is Adoption.MERGED

    async def _report(self, found: Stored, putting: Awaitable[Adoption]) -> Adoption:
        """The outcome of putting it at the target, which is reported if it is a refusal."""
        try:
            outcome = await putting
        except SessionError as exc:
            self.counts.add_problem(Problem(found.key, str(exc)))
            return Adoption.UNREADABLE
        if outcome in REFUSED:
            self.counts.add_problem(Problem(found.key, REFUSED[outcome]))
        return outcome

    async def _was_ended(self, found: Stored) -> bool:
        """Whether a process with SESSION_LEGACY_READ ended it at the source, and another wrote it back since."""
        if not found.published:
            return False
        ended = await self._source.call(b"GET", tombstone_key(_key(found)), replay=Replay.READ)
        return ended is not None and found.record.created * MICROSECONDS <= int(ended)

    async def _end_at_target(self, found: Stored) -> None:
        """It was deleted at the source; unless a process there took it over into our layout just now."""
        if not (found.published and await self._source.call(b"EXISTS", _key(found), replay=Replay.READ)):
            await self._target.end(found.sandbox_id, found.session_id)


def _key(found: Stored) -> str:
    return session_key(quote_part(found.sandbox_id), found.session_id)
