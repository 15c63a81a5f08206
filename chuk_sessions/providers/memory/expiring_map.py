"""A dict whose items expire, behind the provider interface: the memory provider's store.

Rules this file keeps, and their costs:

* An operation never awaits, so it is atomic on the event loop. Threads may share a map under the GIL: statements that
  must be atomic between threads are adjacent and have no call between them, because CPython hands the GIL over at
  calls and backward jumps only. (A call between the look at an entry and its deletion would lose live keys.)
* ``items`` holds ``key -> (value, bound, filing)``: tuples, which the garbage collector stops visiting. The deadline is
  the later one of ``bound`` and ``filing``. For a key that is stored anew the deadline is ``filing``. Its ``bound`` is
  then the begin of a second, one object for many keys, so that most reads load no float of the key's own. After a
  deadline was moved later it is ``bound``.
* The expiry index is a heap of seconds. Each second has a bucket: a flat list ``[key, filing, key, filing, ...]``. A
  bucket far ahead is for ``WIDE`` seconds, beginning with its own. When its first second is over, the keys that are
  left are filed by the second. ``filing`` is the deadline object under which the key was filed. A filing is valid while
  ``items[key][2] is filing``, and stale once the key was deleted, recreated or filed anew. Each filing is an object of
  its own.
* A key is always filed at or before its deadline. To move a deadline later touches no bucket: the key is filed again
  when its old bucket comes up. Only an earlier deadline files the key at once.
* Expired items are reclaimed in slices: by writers once a bucket is due, and by callers of ``sweep``.
* Stale filings stay under twice the keys plus ``2 * SPARE_FILINGS``. Once they outnumber the keys by ``SPARE_FILINGS``,
  each key that is removed or filed anew pays for a look at ``COMPACT_SHARE`` filings, which drops the stale ones. So a
  pass over all filings ends after about an eighth as many payments as there are keys. One key pays for
  ``COMPACT_EVERY`` others. A look does not read the entries of the keys, because each would be a visit to a random
  place in memory. Instead, a filing is stale if only its bucket refers to it (see ``references``).
* A call may raise, for instance at the end of the stack. Then a key that is not filed yet is removed again, or gets
  back its old entry. The statements that undo it have no call in them.
* ``get``, ``setex`` and ``delete`` are written flat: a method call costs as much as the dict operation in them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import compress
from typing import Any

from chuk_sessions.provider import DEFAULT_TTL, MAX_TTL, ttl_error
from chuk_sessions.providers.memory.references import references

Entry = tuple[Any, float, float]

COMPACT_SHARE = 16  # filings and buckets looked at per removed key, while stale filings outnumber the keys
COMPACT_EVERY = 31  # keys removed before the next one pays for all of them: 512 filings, in some 40 microseconds
RECLAIM_SLICE = 16  # filings visited per write while a bucket is due; more than one, so that writers catch up
EVICT_SLICE = 64  # filings visited per write while there are more keys than allowed
SWEEP_SLICE = 256  # filings per step of a sweep; a step with its compaction takes under half a millisecond
SPARE_FILINGS = 1024  # stale filings beyond the number of keys that are never worth a visit (16 KB)
CLEAR_CREDIT = SPARE_FILINGS // 4  # an emptied map with less credit than this drops its index whole
SPARE_SECONDS = 64  # seconds without a bucket that the heap may always hold before it is rebuilt
WIDE = 64  # seconds in a wide bucket, a power of two: many buckets of one second would hold one key or none
FAR = 1024  # seconds from now to the first wide bucket; its keys are filed a second time when it comes up


class ExpiringMap:
    """Keys with values and deadlines. A read never returns an expired value, reclaimed or not.

    ``clock`` gives seconds from zero up and never runs backwards. ``max_items`` (at least 1) bounds the number of
    keys: to store one more evicts the key that would expire first, exact to one second (see ``_make_room``).
    ``default_ttl`` is the lifetime in seconds that ``set`` gives. ``on_new_second``, if set, is called when a key is
    filed under a second that had no key, so that the owner can arrange for a ``sweep``. ``on_end``, if set, is called
    with the value of a key that expired or was evicted, after the key is removed, and with whether it was evicted. The
    numbers ``expired`` and ``evicted`` say how many keys were removed so; an expired key that a caller deletes or
    replaces by ``setex`` is in neither.

    The asynchronous methods are the provider interface and never suspend. Values are returned as they were given.
    """

    __slots__ = (
        "__weakref__",
        "_bucket",
        "_buckets",
        "_credit",
        "_cursor",
        "_due",
        "_heap",
        "_heap_lock",
        "_second",
        "_second_end",
        "_stale_and_credit",
        "_unvisited",
        "_visiting",
        "clock",
        "default_ttl",
        "evicted",
        "expired",
        "items",
        "max_items",
        "on_end",
        "on_new_second",
        "opened",
    )

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        max_items: int | None = None,
        default_ttl: float = DEFAULT_TTL,
    ) -> None:
        if max_items is not None and max_items < 1:
            raise ValueError(f"max_items must be at least 1, got {max_items!r}")
        self.items: dict[Hashable, Entry] = {}
        self.clock = time.monotonic if clock is None else clock
        self.max_items = max_items
        self.default_ttl = default_ttl
        self.on_new_second: Callable[[], None] | None = None
        self.on_end: Callable[[Any, bool], object] | None = None
        self.expired = self.evicted = 0
        self._buckets: dict[int, list[Any]] = {}
        self._heap: list[int] = []
        self._heap_lock = threading.RLock()  # taken once per new second and per reclaimed one, not per operation
        self._due = math.inf  # when the first bucket is wholly expired
        self.opened = 0  # how many buckets have been made so far
        self._bucket: list[Any] = []  # the bucket used last, for deadlines from _second to before _second_end
        self._second, self._second_end = 0.0, -1.0
        self._credit = SPARE_FILINGS // 2  # how many keys may be removed before the stale filings must be counted
        self._stale_and_credit = self._credit  # stale filings plus credit
        self._unvisited: list[int] = []  # seconds that the current compaction pass has still to visit
        self._cursor = 0  # the place of that pass in the bucket of the last of these seconds
        self._visiting = threading.Lock()  # one thread at a time visits buckets; the others go on without a visit

    def __len__(self) -> int:
        """Count the keys, with those that expired and were not reclaimed yet."""
        return len(self.items)

    @property
    def stale(self) -> int:
        """Filings in the expiry index that stand for no key any more."""
        return self._stale_and_credit - self._credit

    @property
    def due(self) -> float:
        """The time from which a whole second of keys can be reclaimed; infinity when nothing is filed."""
        return self._due

    async def get(self, key: Hashable) -> Any:
        """Return the live value of ``key``, or None."""
        try:
            entry = self.items[key]
        except KeyError:
            return None
        clock = self.clock  # not called as it is loaded: Python would look for a method first
        return entry[0] if entry[1] > clock() or entry[2] > clock() else None

    async def set(self, key: Hashable, value: Any) -> None:
        """Store ``value`` for ``default_ttl`` seconds."""
        await self.setex(key, self.default_ttl, value)

    async def setex(self, key: Hashable, ttl: float, value: Any) -> None:
        """Store ``value`` for ``ttl`` seconds, fractions included; zero or less removes the key at once.

        Raises ValueError for a ttl that is NaN, infinite or over 3,000 years, and TypeError for a ttl that is no
        number. Nothing changes then.
        """
        clock = self.clock  # see ``get``
        now = clock()
        try:
            deadline = now + ttl
        except (TypeError, OverflowError):
            raise ttl_error(ttl) from None
        if not now < deadline < MAX_TTL:
            if not -math.inf < deadline < MAX_TTL:
                raise ttl_error(ttl)
            await self.delete(key)
            return
        items = self.items
        if key not in items:
            bound = self._second
            entry = (value, bound if bound < deadline else deadline, deadline)
            try:
                if items.setdefault(key, entry) is not entry:
                    self._replace(key, entry)
                elif self._second <= deadline < self._second_end:  # never so where there is a bound
                    self._bucket += (key, deadline)
                else:
                    if self.max_items is not None:
                        self._make_room(self.max_items)
                    self._file(key, deadline)
            except BaseException:
                if key in items and items[key] is entry:
                    del items[key]
                raise
        else:
            try:
                filing = items[key][2]
                if filing <= deadline:
                    items[key] = (value, deadline, filing)  # since the look at the key there was no call
                else:
                    self._replace(key, (value, deadline, deadline))
            except KeyError:  # another thread removed the key before that look
                self._replace(key, (value, deadline, deadline))
        if now >= self._due:
            self.reclaim(RECLAIM_SLICE, now)

    async def delete(self, key: Hashable) -> bool:
        """Remove ``key``; True if it was held.

        A key that expired within the last second may not have been reclaimed yet and then counts as held.
        """
        try:
            del self.items[key]
        except KeyError:
            return False
        self._credit = credit = self._credit - 1
        if credit < CLEAR_CREDIT and (credit < 0 or not self.items):
            self._settle()
        return True

    async def close(self) -> None:
        """Do nothing: all callers that opened the map share it."""

    def live(self, key: Hashable) -> Entry | None:
        """Return the entry of ``key`` if it has not expired, else None."""
        entry = self.items.get(key)
        if entry is not None and (entry[1] > (now := self.clock()) or entry[2] > now):
            return entry
        return None

    def account(self, key: Hashable, entry: Entry, replaced: bool) -> None:
        """File an entry that the owner put into ``items``; with ``replaced`` it took the place of another entry.

        The filing of the entry must be an object of its own. If this raises, the key is removed.
        """
        try:
            if not replaced and self.max_items is not None:
                self._make_room(self.max_items)
            self._file(key, self.filing_of(entry))
        except BaseException:
            if key in self.items and self.items[key] is entry:
                del self.items[key]
            raise
        if replaced:
            self._credit -= 1
            if self._credit < 0:
                self._settle()
        now = self.clock()
        if now >= self._due:
            self.reclaim(RECLAIM_SLICE, now)

    def reclaim(self, limit: int, now: float) -> int:
        """Visit about ``limit`` filings of wholly expired seconds. Return the number of keys removed."""
        if not self._visiting.acquire(blocking=False):
            return 0
        try:
            removed = 0
            while limit > 0 and self._due <= now:
                second = self._heap[0]
                bucket = self._buckets.get(second)
                if bucket is None:
                    limit -= self._drop_empty_seconds(limit)
                else:
                    before = len(bucket)
                    removed += self._visit(second, bucket, 0, limit, now)[1]
                    limit -= before // 2
            self.expired += removed
            self._compact(removed)
            return removed
        finally:
            self._visiting.release()

    def sweep(self) -> Iterator[int]:
        """Remove everything that has expired by now, a slice per step. Each step yields the number of removed keys.

        While another thread visits buckets, steps do nothing.
        """
        now = self.clock()
        while self._due <= now:
            yield self.reclaim(SWEEP_SLICE, now)
        second, cursor = int(now), 0  # the current second: some of its keys may have expired
        while cursor < len(self._buckets.get(second, ())):
            removed = 0
            if self._visiting.acquire(blocking=False):
                try:
                    bucket = self._buckets.get(second)
                    if bucket is not None:
                        cursor, removed = self._visit(second, bucket, cursor, SWEEP_SLICE, now)
                        self.expired += removed
                        self._compact(removed)
                finally:
                    self._visiting.release()
            yield removed

    def look_at_index(self) -> None:
        """Wait until no other thread visits buckets. In a forked child, first make the index anew."""
        self._visiting.acquire()
        self._visiting.release()

    def bucket_of(self, second: int) -> list[Any] | None:
        """Return the bucket of a second, or None. Do not change it: ``[key, filing, key, filing, ...]``."""
        return self._buckets.get(second)

    def seconds(self) -> list[int]:
        """Return the seconds that have buckets, in order, by a look at all. It holds as long as ``opened`` stays."""
        while True:
            try:
                return sorted(self._buckets)
            except RuntimeError:  # another thread changed the dict meanwhile
                continue

    def filing_of(self, entry: Any) -> float:
        """Return the filing of an entry of this map: the object that its bucket has."""
        filing: float = entry[2]
        return filing

    def _swap(self, key: Hashable, old: Any, new: Any) -> bool:
        try:
            if self.items[key] is old:
                self.items[key] = new
                return True
        except KeyError:
            pass
        return False

    def _replace(self, key: Hashable, entry: Entry) -> None:
        while (old := self.items.setdefault(key, entry)) is not entry:
            if self._exchange(key, old, entry, entry[2]):
                return
        try:
            self._file(key, entry[2])
        except BaseException:
            if key in self.items and self.items[key] is entry:
                del self.items[key]
            raise

    def _exchange(self, key: Hashable, old: Any, entry: Any, filing: float) -> bool:
        """Put ``entry`` in the place of ``old`` and file it. Return False if the key does not have ``old`` any more."""
        try:
            if not self._swap(key, old, entry):
                return False
            self._file(key, filing)
            self._credit -= 1
            if self._credit < 0:
                self._settle()
            return True
        except BaseException:
            if key in self.items and self.items[key] is entry:
                self.items[key] = old
            raise

    def _file(self, key: Hashable, deadline: float, after: float | None = None) -> None:
        """File a key under its deadline, in a wide bucket if it begins after ``after``, by default ``FAR`` from now."""
        second, seconds = int(deadline) & -WIDE, WIDE
        if second <= (self.clock() + FAR if after is None else after):
            second, seconds = int(deadline), 1
        start, end = float(second), float(second + seconds) if self.max_items is None else -1.0
        while True:
            try:
                bucket = self._buckets[second]
                bucket += (key, deadline)
                self._bucket, self._second, self._second_end = bucket, start, end
                return
            except KeyError:
                self._open(second)

    def _open(self, second: int) -> None:
        with self._heap_lock:
            if second not in self._buckets:
                heappush(self._heap, second)  # a second without a bucket is dropped, a bucket without a second stays
                self._buckets[second] = []
                self.opened += 1
                self._due = self._heap[0] + 1.0
        if self.on_new_second is not None:
            self.on_new_second()

    def _drop_empty_seconds(self, limit: int) -> int:
        """Take up to ``limit`` seconds without a bucket off the front of the heap. Return their number."""
        with self._heap_lock:
            dropped = 0
            while dropped < limit and self._heap and self._heap[0] not in self._buckets:
                heappop(self._heap)
                dropped += 1
            self._due = self._heap[0] + 1.0 if self._heap else math.inf
        return dropped

    def _visit(
        self, second: int, bucket: list[Any], cursor: int, limit: int, now: float, evicts: bool = False
    ) -> tuple[int, int]:
        """Look at up to ``limit`` filings of a bucket from ``cursor`` on. Return the new cursor and the keys removed.

        Drops stale filings, removes expired keys, files keys anew that live beyond this second, and leaves the rest.
        The last filing takes the place of a dropped one: order within a second means nothing.
        """
        items = self.items
        removed = 0
        for _ in range(min(limit, (len(bucket) - cursor) // 2)):
            key, filing = bucket[cursor], bucket[cursor + 1]
            ended = None
            try:
                entry = items[key]
                if entry[2] is not filing:
                    self._stale_and_credit -= 1
                elif entry[1] <= now and entry[2] <= now:
                    del items[key]
                    removed += 1
                    ended = entry
                elif entry[1] < second + 1 and filing < second + 1:
                    cursor += 2
                    continue
                else:
                    deadline = entry[1] if entry[1] > filing else filing
                    items[key] = filed = (entry[0], deadline, deadline)
                    try:
                        self._file(key, filed[2], second)
                    except BaseException:
                        if key in items and items[key] is filed:
                            items[key] = entry
                        raise
            except KeyError:
                self._stale_and_credit -= 1
            bucket[cursor] = bucket[-2]
            bucket[cursor + 1] = bucket[-1]
            del bucket[-2:]
            if ended is not None and self.on_end is not None:
                self.on_end(ended[0], evicts)
        if not bucket:
            self._drop(second, bucket)
        return cursor, removed

    def _drop(self, second: int, bucket: list[Any]) -> None:
        """Forget a bucket, if it is still empty: before this call another thread may have filed a key in it."""
        if bucket:
            return
        if bucket is self._bucket:  # no call from the look to the end of the bucket
            self._second_end = -1.0
        del self._buckets[second]
        self._rebuild_heap()

    def _drop_stale(self, second: int, bucket: list[Any], cursor: int, limit: int) -> int:
        """Drop the stale ones of up to ``limit`` filings of a bucket, from ``cursor`` on. Return the new cursor.

        The last filings take the places of the dropped ones, as in ``_visit``: the cursor is before them.
        """
        here = bucket[cursor : cursor + 2 * limit]  # holds the dropped keys until all is done
        valid = self._valid(here)
        stale = valid.count(0)
        if not stale:
            return cursor + len(here)
        gap, end = 2 * stale, cursor + len(here)
        kept: list[Any] = [None] * (len(here) - gap)
        kept[::2], kept[1::2] = compress(here[::2], valid), compress(here[1::2], valid)
        start, cursor = cursor, cursor + len(kept)
        if end + gap <= len(bucket):
            kept += bucket[-gap:]  # no call from here to the end of this block: other threads append
            bucket[start:end] = kept
            del bucket[-gap:]
        else:
            bucket[start:end] = kept
        self._stale_and_credit -= stale
        if not bucket:
            self._drop(second, bucket)
        return cursor

    def _valid(self, filings: list[Any]) -> list[int]:
        """Return 0 for each stale filing, for filings that were copied out of a bucket."""
        return references(filings[1::2])

    def _settle(self) -> None:
        """Pay for the compaction that is due because keys were removed or filed anew."""
        if not self._visiting.acquire(blocking=False):
            return
        try:
            if self.items:
                self._compact(COMPACT_EVERY + 1)
            else:
                self._clear()
        finally:
            self._visiting.release()

    def _clear(self) -> None:
        buckets: dict[int, list[Any]] = {}
        heap: list[int] = []
        unvisited: list[int] = []
        with self._heap_lock:
            if not self.items:
                self._buckets, self._heap, self._unvisited = buckets, heap, unvisited
                self._second_end, self._due = -1.0, math.inf
                self._stale_and_credit = self._credit = SPARE_FILINGS // 2

    def _compact(self, payments: int) -> None:
        """Go on with the pass that drops stale filings, while there are too many. Then renew the credit."""
        limit = COMPACT_SHARE * payments
        while limit > 0 and self.stale > len(self.items) + SPARE_FILINGS:
            if not self._unvisited:
                self._unvisited = list(self._buckets)
                self._cursor = 0
                if not self._unvisited:
                    break
            second = self._unvisited[-1]
            bucket = self._buckets.get(second)
            limit -= 1
            if bucket is not None:
                start, filings = self._cursor, len(bucket)
                self._cursor = self._drop_stale(second, bucket, start, limit + 1)
                limit -= (self._cursor - start + filings - len(bucket)) // 2
            if bucket is None or self._cursor >= len(bucket):
                self._unvisited.pop()
                self._cursor = 0
        # A delete turns one key into one stale filing: so half the distance to the bound may be deleted unchecked.
        credit = max(COMPACT_EVERY, (len(self.items) + SPARE_FILINGS - self.stale) // 2)
        self._stale_and_credit, self._credit = self.stale + credit, credit

    def _make_room(self, max_items: int) -> None:
        """Evict until the bound holds. The key just stored is not filed yet, so it is never evicted.

        At most ``EVICT_SLICE`` filings are visited. If their keys were all moved later or deleted, the map passes its
        bound until the next writes have caught up, by one key in ``EVICT_SLICE`` at the most.
        """
        excess = len(self.items) - max_items
        if excess <= 0 or not self._visiting.acquire(blocking=excess > EVICT_SLICE):
            return  # while another thread visits, each may store a few keys more
        try:
            limit = EVICT_SLICE
            while limit > 0 and len(self.items) > max_items and self._heap:
                second = self._heap[0]
                bucket = self._buckets.get(second)
                if bucket is None:
                    limit -= self._drop_empty_seconds(limit)
                else:
                    limit -= 1
                    evicts = second + 1 > self.clock()  # else the whole second has expired
                    removed = self._visit(second, bucket, 0, 1, second + 1, evicts)[1]
                    if evicts:
                        self.evicted += removed
                    else:
                        self.expired += removed
                    self._compact(removed)
        finally:
            self._visiting.release()

    def _rebuild_heap(self) -> None:
        """Take the seconds without a bucket off the heap once they outnumber the seconds with one."""
        if len(self._heap) <= 2 * len(self._buckets) + SPARE_SECONDS:
            return
        with self._heap_lock:
            self._heap = list(self._buckets)
            heapify(self._heap)
            self._due = self._heap[0] + 1.0 if self._heap else math.inf
