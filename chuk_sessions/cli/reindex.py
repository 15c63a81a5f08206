"""Rebuilds the index of users from the sessions, after a server has evicted an index or lost some of its keys.

``list_user_sessions``, ``delete_user_sessions`` and ``max_sessions_per_user`` find sessions by the index. A session has
all data of its index entry, so that a missing entry can be put back. Applications may run meanwhile, and an interrupted
run can be started again. Entries without a session expire by themselves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chuk_sessions.cli.migrate import BATCH
from chuk_sessions.exceptions import WrongTypeError
from chuk_sessions.providers.redis.entries import Member
from chuk_sessions.providers.redis.index import CLOCK_SLACK, UserIndex
from chuk_sessions.providers.redis.keys import ALL_SESSIONS, names_in_key
from chuk_sessions.providers.redis.record import UNSETTLED_IDLE, VERSIONS
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.providers.redis.scripts import MOVE
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chuk_sessions.redis_client.client import Client

__all__ = ["Reindexed", "reindex"]


@dataclass
class Reindexed:
    """The counts of a run. While slots of a cluster move, a key may be read and counted twice."""

    seen: int = 0  # keys
    sessions: int = 0  # the sessions of this layout among these keys, with a user or without
    missing: int = 0  # the sessions whose entry was missing: it was put back, unless in a dry run

    def summary(self) -> str:
        """See ``Progress``."""
        return f"{self.missing} of {self.sessions} sessions were in no index"


async def reindex(
    client: Client,
    *,
    sandboxes: Collection[str] = (),
    dry_run: bool = False,
    batch: int = BATCH,
    progress: Callable[[Reindexed], None] = lambda counts: None,
    stop: Callable[[], bool] = lambda: False,
) -> Reindexed:
    """Put back the missing entries of all sessions, or of the sessions of ``sandboxes``. Return the counts.

    ``progress`` and ``stop`` are called after each batch; the run ends when ``stop`` returns True. A dry run writes
    nothing. Raises ProviderError as ``Client.call``; entries that were put back by then stay.
    """
    counts = Reindexed()
    async for keys in Walk(client, ALL_SESSIONS, batch).pages():
        names = [(key.decode(), found[0]) for key in keys if (found := names_in_key(key)) is not None]
        ours = [(key, sandbox_id) for key, sandbox_id in names if not sandboxes or sandbox_id in sandboxes]
        restoring = (_restore(client, sandbox_id, key, dry_run) for key, sandbox_id in ours)
        missing = sum(await asyncio.gather(*restoring))
        counts.seen += len(keys)
        counts.sessions += len(ours)
        counts.missing += missing
        progress(counts)
        if stop():
            break
    return counts


@dataclass(frozen=True, slots=True)
class _Entry:
    """The entry that a session should have, and its deadline."""

    member: Member
    deadline: int  # microseconds


async def _restore(client: Client, sandbox_id: str, key: str, dry_run: bool) -> bool:
    """Put back the entry of a session if its index lacks it. Return whether it did.

    False if the key holds no live session, or a session without a user.
    """
    entry = await _entry_of(client, sandbox_id, key)
    if entry is None:
        return False
    index, raw = entry.member.index_key, entry.member.raw
    if await client.call(b"ZSCORE", index, raw, replay=Replay.READ) is not None:
        return False
    if not dry_run:
        await MOVE.run(client, (index,), (raw, entry.deadline + CLOCK_SLACK))
        now = await _entry_of(client, sandbox_id, key)
        if now is None or now.member != entry.member:  # it ended meanwhile, and its deletion found no entry to remove
            await UserIndex(client, sandbox_id).forget(entry.member)
    return True


async def _entry_of(client: Client, sandbox_id: str, key: str) -> _Entry | None:
    """Return the entry that the session with that key should have.

    None if the key holds no session of this layout, or a session without a user.
    """
    names = (b"v", b"user", b"created", b"expires", b"inc", b"end", b"idle")
    try:
        fields: list[bytes | None] = await client.call(b"HMGET", key, *names, replay=Replay.READ)
    except WrongTypeError:
        return None
    version, user, created, expires, inc, end, idle = fields
    deadline = end or expires
    if idle == b"%d" % UNSETTLED_IDLE:
        return None
    if version not in VERSIONS or user is None or created is None or deadline is None:
        return None
    if not (created.isdigit() and deadline.isdigit()):
        return None
    return _Entry(UserIndex(client, sandbox_id).member(key, user, inc or created + b"."), int(deadline))
