"""Rebuilds the index of users from the sessions: for a server that has evicted an index, or lost some of its keys.

An index is what ``list_user_sessions``, ``delete_user_sessions`` and ``max_sessions_per_user`` find sessions by. Every
session tells what its entry must be, so that an entry which is missing can be put back. Applications may go on
meanwhile, and a run that was interrupted is simply begun again. Entries without a session expire by themselves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chuk_sessions.cli.migrate import BATCH
from chuk_sessions.exceptions import WrongTypeError
from chuk_sessions.ids import user_tag
from chuk_sessions.providers.redis.entries import raw_member
from chuk_sessions.providers.redis.index import CLOCK_SLACK, UserIndex
from chuk_sessions.providers.redis.keys import ALL_SESSIONS, index_key, names_in_key, quote_part
from chuk_sessions.providers.redis.record import UNSETTLED_IDLE, VERSIONS, to_text
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.providers.redis.scripts import MOVE
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chuk_sessions.redis_client.client import Client

__all__ = ["Reindexed", "reindex"]


@dataclass
class Reindexed:
    """What a run found. In a cluster whose slots move a key may come, and be counted, twice."""

    seen: int = 0  # keys
    sessions: int = 0  # of them sessions of this layout, with a user or without
    missing: int = 0  # of them those whose entry was missing: it was put back, unless in a dry run

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
    """Put back the entries of all sessions, or of those of ``sandboxes``; what was found.

    ``stop`` is asked, and ``progress`` told, per batch. A dry run writes nothing. Raises ProviderError as
    ``Client.call``; what was put back by then stays.
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
    """The entry that a session should have: in which index, and until when."""

    raw: bytes
    index: str
    deadline: int  # microseconds


async def _restore(client: Client, sandbox_id: str, key: str, dry_run: bool) -> bool:
    """List a session that its index has lost; whether it had. False also without a live session or a user."""
    entry = await _entry_of(client, sandbox_id, key)
    if entry is None or await client.call(b"ZSCORE", entry.index, entry.raw, replay=Replay.READ) is not None:
        return False
    if not dry_run:
        await MOVE.run(client, (entry.index,), (entry.raw, entry.deadline + CLOCK_SLACK))
        now = await _entry_of(client, sandbox_id, key)
        if now is None or now.raw != entry.raw:  # it ended meanwhile, and who ended it found no entry to take out
            await UserIndex(client, sandbox_id).forget(entry.raw)
    return True


async def _entry_of(client: Client, sandbox_id: str, key: str) -> _Entry | None:
    """What the session with that key should have; None if this version finds none there, or one without a user."""
    names = (b"v", b"user", b"created", b"expires", b"inc", b"end", b"idle")
    try:
        fields: list[bytes | None] = await client.call(b"HMGET", key, *names, replay=Replay.READ)
    except WrongTypeError:
        return None
    version, user, created, expires, inc, end, idle = fields
    deadline = end or expires
    if idle == b"%d" % UNSETTLED_IDLE:
        return None
    if version not in VERSIONS or user is None or created is None or deadline is None or not deadline.isdigit():
        return None
    index = index_key(quote_part(sandbox_id), user_tag(sandbox_id, to_text(user)))
    return _Entry(raw_member(key, user, inc or created + b"."), index, int(deadline))
