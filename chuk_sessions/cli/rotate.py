"""Seals the metadata of all sessions with the key that seals new values: plain values too, and those of other keys.

* A value is written only if it is still what was read, by a script that neither touches the session nor moves a
  deadline. So an update that comes between is not lost: the session is read again.
* A session that gets a new id during the walk may be missed by it. So the walk is repeated until it finds nothing.
* What is done stays done: a run that was interrupted can be started again, and applications may run meanwhile.
* Values of ``plain_fields`` are written plain.
* A value that cannot be opened is left alone, and reported.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chuk_sessions.batches import slices
from chuk_sessions.cli.counts import MAX_PROBLEMS
from chuk_sessions.cli.migrate import ATTEMPTS, BATCH
from chuk_sessions.cli.stored import Problem
from chuk_sessions.codec import SEALED
from chuk_sessions.exceptions import EncryptionError, WrongTypeError
from chuk_sessions.ids import quote_part
from chuk_sessions.providers.redis.keys import ALL_SESSIONS, names_in_key
from chuk_sessions.providers.redis.legacy import document as legacy
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import METADATA, VERSIONS, alias_in
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.providers.redis.sealed.values import Seals
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.replies import as_dict
from chuk_sessions.redis_client.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chuk_sessions.encryption import Keyring
    from chuk_sessions.redis_client.client import Client

__all__ = ["ROTATE", "Rotated", "rotate"]

WALKS = 3  # at most: a walk that finds something each time finds what other processes write
VALUES = 500  # that one script writes: the server serves no other client meanwhile
SHOWN_PROBLEMS = 20

ROTATE = Script(load("rotate"), bounded=False)

Change = tuple[bytes, bytes, bytes]  # a field, the value that was read, and the value to write


@dataclass
class Rotated:
    """The counts of a run. While slots of a cluster move, a key may be read twice."""

    seen: int = 0  # keys, of the first walk
    sessions: int = 0  # sessions with a value that was written anew, or would be in a dry run
    values: int = 0
    legacy: int = 0  # sessions in the layout of 0.2 to 0.6, which is never sealed
    unfinished: bool = False  # the last walk still found something to do
    left: int = 0  # sessions with a value that could not be written anew
    problems: list[Problem] = field(default_factory=list)

    def summary(self) -> str:
        """See ``Progress``."""
        return f"{self.values} values of {self.sessions} sessions, left {self.left}"

    def add_problem(self, problem: Problem) -> None:
        """Count a session with a value that could not be written anew."""
        self.left += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def is_complete(self, dry_run: bool) -> bool:
        """Tell whether nothing is left to do."""
        return not (self.left or self.legacy or self.unfinished or (dry_run and self.values))

    def report(self, dry_run: bool, show_ids: bool) -> str:
        """Return the counts in words, and the sessions that are left."""
        done = "to seal anew" if dry_run else "sealed anew"
        lines = [f"{done}: {self.values} values of {self.sessions} sessions"]
        if self.legacy:
            lines.append(f"not sealed: {self.legacy} sessions of 0.2 to 0.6; `migrate` moves them into our layout")
        if self.unfinished:
            lines.append("other processes still write values plain or with another key: change them, then run it again")
        if self.left:
            lines.append(f"left as they are: {self.left} sessions")
        lines += [f"  {problem.with_key() if show_ids else problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if self.left > SHOWN_PROBLEMS:
            lines.append(f"  and {self.left - SHOWN_PROBLEMS} more")
        return "\n".join(lines)


async def rotate(
    client: Client,
    keyring: Keyring,
    *,
    sandboxes: Collection[str] = (),
    dry_run: bool = False,
    batch: int = BATCH,
    progress: Callable[[Rotated], None] = lambda counts: None,
    stop: Callable[[], bool] = lambda: False,
) -> Rotated:
    """Seal the metadata of all sessions, or of the sessions of ``sandboxes``, with the writing key of ``keyring``.

    ``progress`` and ``stop`` are called after each batch; the run ends when ``stop`` returns True. A dry run writes
    nothing. Return the counts. Raises ValueError for a keyring that seals nothing, ProviderError as ``Client.call``.
    """
    if not keyring.seals:
        raise ValueError("the keyring must have a key that seals")
    run = _Run(client, keyring, sandboxes, dry_run)
    for number in range(1 if dry_run else WALKS):
        before = run.counts.values
        run.begin(is_first=number == 0)
        async for keys in Walk(client, ALL_SESSIONS, batch).pages():
            await run.rotate_batch(keys)
            progress(run.counts)
            if stop():
                return run.counts
        run.counts.unfinished = not dry_run and run.counts.values > before
        if not run.counts.unfinished:
            break
    return run.counts


class _Run:
    """One run and its counts so far."""

    def __init__(self, client: Client, keyring: Keyring, sandboxes: Collection[str], dry_run: bool) -> None:
        self.counts = Rotated()
        self._client = client
        self._keyring = keyring
        self._sandboxes = sandboxes
        self._dry_run = dry_run
        self._seals: dict[str, Seals] = {}  # by sandbox
        self._is_first = True

    def begin(self, is_first: bool) -> None:
        """Begin a walk: what is left and what is legacy is counted again."""
        self._is_first = is_first
        self.counts.left = self.counts.legacy = 0
        self.counts.problems.clear()

    async def rotate_batch(self, keys: list[bytes]) -> None:
        """Seal the sessions with these keys. Raise the first error when all have ended."""
        self.counts.seen += len(keys) if self._is_first else 0
        for result in await asyncio.gather(*map(self._rotate, keys), return_exceptions=True):
            if result is not None:
                raise result

    async def _rotate(self, key: bytes) -> None:
        names = names_in_key(key)
        try:
            if names is None:
                await self._count_legacy(key)
            elif self._is_wanted(names[0]):
                await self._rotate_session(key, names[0])
        except WrongTypeError:  # no session
            return

    def _is_wanted(self, sandbox_id: str) -> bool:
        return not self._sandboxes or sandbox_id in self._sandboxes

    async def _count_legacy(self, key: bytes) -> None:
        text = await self._client.call(b"GET", key, replay=Replay.READ)
        found = None if text is None else legacy.decode(text)
        self.counts.legacy += found is not None and self._is_wanted(found.sandbox_id)

    async def _rotate_session(self, key: bytes, sandbox_id: str) -> None:
        written = False
        for _ in range(ATTEMPTS):
            fields = as_dict(await self._client.call(b"HGETALL", key, replay=Replay.READ), "HGETALL")
            if fields.get(b"v") not in VERSIONS:
                if fields and alias_in(fields) is None:
                    self.counts.add_problem(Problem(key, "a record that this version cannot read"))
                return
            changes, problem = self._changes(key, sandbox_id, fields)
            number = len(changes) if self._dry_run else await self._write(key, changes)
            self.counts.values += number
            self.counts.sessions += number > 0 and not written
            written = written or number > 0
            if number == len(changes):
                if problem is not None:
                    self.counts.add_problem(problem)
                return
        self.counts.add_problem(Problem(key, f"changed {ATTEMPTS} times while it was read; run again"))

    async def _write(self, key: bytes, changes: list[Change]) -> int:
        """Return how many of the changes were made: those whose values were still what was read."""
        written = 0
        for some in slices(changes, VALUES):
            written += await ROTATE.run(self._client, (key,), tuple(part for change in some for part in change))
        return written

    def _changes(self, key: bytes, sandbox_id: str, fields: dict[bytes, bytes]) -> tuple[list[Change], Problem | None]:
        """Return what is to be written, and the problem of a value that cannot be opened, if there is one."""
        if sandbox_id not in self._seals:
            self._seals[sandbox_id] = Seals(self._keyring, quote_part(sandbox_id))
        seals, name, problem = self._seals[sandbox_id], key.decode(), None
        changes: list[Change] = []
        for each, value in fields.items():
            if not each.startswith(METADATA) or self._is_done(seals, each, value):
                continue
            try:
                text = seals.open(each, value, name) if value.startswith(SEALED) else value
            except EncryptionError as exc:
                problem = Problem(key, str(exc))
            else:
                changes.append((each, value, seals.sealed((each, text), name)[1]))
        return changes, problem

    def _is_done(self, seals: Seals, name: bytes, value: bytes) -> bool:
        if seals.is_plain(name):
            return not value.startswith(SEALED)
        return self._keyring.is_current(value)
