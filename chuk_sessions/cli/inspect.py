"""A survey of the sessions in a database: totals per sandbox, and the sessions that expire first.

It only reads, and needs bounded memory.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from chuk_sessions.cli.keys import PLAIN, key_of, name_of_key
from chuk_sessions.cli.stored import Alias, Keys, Problem, Stored, read_batch, session_keys
from chuk_sessions.exceptions import ServerError
from chuk_sessions.ids import fingerprint
from chuk_sessions.models import iso_timestamp
from chuk_sessions.providers.redis.keys import ALL_INDEXES, sandbox_of_index
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chuk_sessions.redis_client.client import Client

__all__ = ["SandboxTotals", "Survey", "as_json", "as_text", "survey"]

BATCH = 200
LISTED = 20  # sessions in the list by default
DAY = 86_400
NO_NAMES: Mapping[bytes, str] = {}


@dataclass
class SandboxTotals:
    """The totals of one sandbox: times in seconds since the epoch, memory in bytes, None if the server did not tell."""

    sessions: int = 0
    published: int = 0  # legacy sessions among them: in the layout of 0.2 to 0.6
    memory: int | None = 0  # of the sessions
    index_memory: int | None = 0  # of the indexes of its users; None too if only the sessions of one user are counted
    oldest: float = float("inf")  # when the oldest session was created
    next_end: float = float("inf")  # when the first session expires
    values: Counter[str] = field(default_factory=Counter)  # values of metadata by the key that has sealed them

    def add(self, found: Stored, memory: int | None, now: float, names: Mapping[bytes, str]) -> None:
        """Count one session. ``names`` are those of the known keys."""
        self.sessions += 1
        self.published += found.published
        self.memory = _sum(self.memory, memory)
        self.oldest = min(self.oldest, found.record.created)
        self.next_end = min(self.next_end, now + found.left)
        for name, value in zip(found.raw[::2], found.raw[1::2], strict=False):
            if (key := key_of(name, value)) is not None:
                self.values[name_of_key(key, names)] += 1


@dataclass
class Survey:
    """The result: totals, the sessions that expire first (soonest first), and the number of unreadable keys."""

    sandboxes: dict[str, SandboxTotals] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0


async def survey(
    client: Client,
    *,
    sandboxes: Collection[str] = (),
    user_id: str | None = None,
    listed: int = LISTED,
    show_ids: bool = False,
    names: Mapping[bytes, str] = NO_NAMES,
) -> Survey:
    """Survey all sessions, or those of ``sandboxes`` and ``user_id``. Raises as ``session_keys``.

    ``names`` are those of the keys of sealed values, by their ids.

    A session that begins or ends meanwhile, or moves to another server of a cluster, may be missed or counted twice.
    """
    result, order = Survey(), count()
    first: list[tuple[float, int, dict[str, Any]]] = []  # a heap with the latest end on top
    seen: set[bytes] = set()
    async for keys in session_keys(client, BATCH):
        fresh = [(key, kind) for key, kind in keys if key not in seen]
        seen = {key for key, _ in keys}  # SCAN may give a key twice, mostly in one batch or the next
        for found, memory in await _read_with_memory(client, fresh):
            if isinstance(found, Problem):
                result.unreadable += 1
            elif isinstance(found, Stored) and _is_wanted(found, sandboxes, user_id):
                now = time.time()
                result.sandboxes.setdefault(found.sandbox_id, SandboxTotals()).add(found, memory, now, names)
                heapq.heappush(first, (-now - found.left, next(order), _row(found, memory, now, show_ids)))
                if len(first) > listed:
                    heapq.heappop(first)
    result.sessions = [row for _, _, row in sorted(first, reverse=True)]
    if user_id is None:
        await _add_indexes(client, result.sandboxes)
    else:
        for totals in result.sandboxes.values():
            totals.index_memory = None
    return result


async def _add_indexes(client: Client, sandboxes: dict[str, SandboxTotals]) -> None:
    """Add the memory of the indexes of users to the totals of their sandboxes."""
    seen: set[bytes] = set()
    async for keys in Walk(client, ALL_INDEXES, BATCH).pages():
        fresh, seen = [key for key in keys if key not in seen], set(keys)
        for key, memory in zip(fresh, await asyncio.gather(*(_memory(client, key) for key in fresh)), strict=True):
            totals = sandboxes.get(sandbox_of_index(key) or "")
            if totals is not None:
                totals.index_memory = _sum(totals.index_memory, memory)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _is_wanted(found: Stored, sandboxes: Collection[str], user_id: str | None) -> bool:
    return (not sandboxes or found.sandbox_id in sandboxes) and user_id in (None, found.record.user_id)


async def _read_with_memory(client: Client, keys: Keys) -> list[tuple[Stored | Alias | Problem | None, int | None]]:
    found, sizes = await asyncio.gather(
        read_batch(client, keys), asyncio.gather(*(_memory(client, key) for key, _ in keys))
    )
    return list(zip(found, sizes, strict=True))


async def _memory(client: Client, key: bytes) -> int | None:
    """Return the bytes that the key takes; None if the server does not tell."""
    try:
        size: int | None = await client.call(b"MEMORY", b"USAGE", key, b"SAMPLES", 0, replay=Replay.READ)
    except ServerError:  # a user without the permission, or a hosted server
        return None
    return size


def _row(found: Stored, memory: int | None, now: float, show_ids: bool) -> dict[str, Any]:
    name = {"session_id": found.session_id} if show_ids else {"fingerprint": fingerprint(found.session_id)}
    return {
        **name,
        "sandbox_id": found.sandbox_id,
        "user_id": found.record.user_id,
        "created_at": iso_timestamp(found.record.created),
        "last_accessed": iso_timestamp(found.record.accessed),
        "expires_at": iso_timestamp(now + found.left),
        "memory": memory,
        "layout": "published" if found.published else "current",
    }


def as_json(found: Survey) -> dict[str, Any]:
    """Return the survey in the form of the JSON output."""
    sandboxes = {
        name: {
            "sessions": totals.sessions,
            "published": totals.published,
            "memory": totals.memory,
            "index_memory": totals.index_memory,
            "oldest_created_at": iso_timestamp(totals.oldest),
            "next_expires_at": iso_timestamp(totals.next_end),
            "values": dict(sorted(totals.values.items())),
        }
        for name, totals in sorted(found.sandboxes.items())
    }
    return {"sandboxes": sandboxes, "sessions": found.sessions, "unreadable": found.unreadable}


def as_text(found: Survey) -> str:
    """Return the survey as two tables, and a line about unreadable keys."""
    now = time.time()
    totals = [["sandbox", "sessions", "of 0.2-0.6", "memory", "indexes", "oldest", "next to expire"]]
    for name, each in sorted(found.sandboxes.items()):
        ages = (f"{_span(now - each.oldest)} old", f"in {_span(each.next_end - now)}")
        sizes = (_size(each.memory), _size(each.index_memory))
        totals.append([name, f"{each.sessions:,}", f"{each.published:,}", *sizes, *ages])
    names = (
        "session_id",
        "fingerprint",
        "sandbox_id",
        "user_id",
        "created_at",
        "last_accessed",
        "expires_at",
        "memory",
    )
    columns = [name for name in names if found.sessions and name in found.sessions[0]]
    rows = [[str("-" if row[name] is None else row[name]) for name in columns] for row in found.sessions]
    parts = [_table(totals) if found.sandboxes else "no sessions"]
    keys = sorted({key for each in found.sandboxes.values() for key in each.values} - {PLAIN})
    if keys:
        sealed = [["sandbox", PLAIN, *keys]]
        for name, each in sorted(found.sandboxes.items()):
            sealed.append([name, *(f"{each.values[key]:,}" for key in (PLAIN, *keys))])
        parts.append(f"values of metadata by the key that has sealed them:\n{_table(sealed)}")
    if rows:
        parts.append(f"the {len(rows)} that expire first:\n{_table([columns, *rows])}")
    if found.unreadable:
        parts.append(f"{found.unreadable} keys cannot be read by this version; `migrate --dry-run` says why")
    return "\n\n".join(parts)


def printable(text: str) -> str:
    """Escape control characters and others that a terminal cannot show: users may choose the user names."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _table(rows: list[list[str]]) -> str:
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _span(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _size(size: float | None) -> str:
    if size is None:
        return "not told"
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
