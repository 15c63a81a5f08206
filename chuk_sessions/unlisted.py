"""Ends sessions of a user that the store does not list any more: see ``SessionManager.delete_user_sessions``.

An index of users may be lost while sessions live on, for instance if a server evicts keys. Then only a walk over all
sessions finds these sessions. The walk may also find a session that is newer than the call, which must live on. A new
session is listed before it exists. So a session that is found but not listed is older than the call.
"""

from __future__ import annotations

import asyncio

from chuk_sessions.batches import batch
from chuk_sessions.stores.contract import CompleteStore

__all__ = ["end_unlisted"]

PAGE = 500  # sessions that are read at a time


async def end_unlisted(store: CompleteStore, user_id: str, keep: frozenset[str]) -> int:
    """End all sessions of a user that are neither listed nor in ``keep``. Return how many it ended.

    The errors are those of the store.
    """
    kept = keep.union(await _names(store, list(keep)))
    listed: set[str] = set()
    ended = 0
    async for page in store.pages(PAGE):
        found = [each for each, record in page if record.user_id == user_id and each not in kept | listed]
        if not found:
            continue
        # The list is read before and after: in between a session may have got a new id.
        listed = await _listed(store, user_id)
        names = await _names(store, found)
        listed |= await _listed(store, user_id)
        lost = [name for name in dict.fromkeys(names) if name not in kept | listed]
        for result in await batch([store.delete(name) for name in lost]):
            if isinstance(result, Exception):
                raise result
            ended += result
    return ended


async def _listed(store: CompleteStore, user_id: str) -> set[str]:
    return {session_id for session_id, _ in await store.list_user(user_id)}


async def _names(store: CompleteStore, session_ids: list[str]) -> list[str]:
    """Return the current ids of those sessions that exist."""
    records = await asyncio.gather(*map(store.read, session_ids))
    pairs = zip(session_ids, records, strict=True)
    return [record.current_id or session_id for session_id, record in pairs if record is not None]
