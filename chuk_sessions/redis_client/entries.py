"""Keeps replies by key, up to a number of entries and of bytes: the least used entries make room for new ones.

An entry that was used since the hand passed it last gets a second chance: it goes to the end of the queue once, and
the next entry is looked at. So a sweep over many keys that are read once does not drive out the keys in use.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "MAX_ENTRY_BYTES", "Entries", "Entry"]

MAX_ENTRIES, MAX_BYTES = 10_000, 16 << 20
MAX_ENTRY_BYTES = 64 << 10  # of the fields and values of one reply
MAX_LARGE = 1_000  # keys that are remembered because what they have is too large
OBJECT = 100  # bytes of a field and its value in a dict, beside their text: measured 93 on CPython 3.11
BESIDE = 700  # bytes of an entry and its key, its place in the map and an empty dict: measured some 600
SETTLED = 450  # the same without the dict: measured some 320


class Entry:
    """One reply. ``record`` is what its user has made of it; the reply is not needed any more then."""

    __slots__ = ("is_used", "record", "reply", "size")

    def __init__(self, reply: dict[bytes, bytes], size: int) -> None:
        self.reply: dict[bytes, bytes] | None = reply
        self.record: Any = None
        self.size = size
        self.is_used = False


class Entries:
    """The entries of one connection by key, and how many were dropped to make room."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._map: OrderedDict[str, Entry] = OrderedDict()
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self.get = self._map.get
        self._large: dict[str, None] = {}  # keys whose last reply was too large, the first one first
        self.bytes = 0  # by estimate, rather too many
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._map)

    def __contains__(self, key: str) -> bool:
        return key in self._map

    def names(self) -> list[str]:
        """Return the keys; another thread may ask."""
        return list(self._map)

    def takes(self, key: str) -> bool:
        """Tell whether the next reply for that key would be kept: there is none yet, and the last was not too large."""
        return key not in self._map and key not in self._large

    def put(self, key: str, reply: object) -> bool:
        """Keep the reply if it is a hash of texts and not too large. Return whether it is kept.

        A hash of one field is an alias, and no session.
        """
        map_ = self._map
        if key in map_:
            self.drop(key)
        if type(reply) is not dict or len(reply) <= 2:
            return False
        try:
            size = len(b"".join([*reply, *reply.values()]))  # in two thirds of the time that it takes to add up
        except TypeError:  # a value that is no text
            return False
        if self._large:
            self._large.pop(key, None)
        if size > MAX_ENTRY_BYTES:
            if len(self._large) >= MAX_LARGE:
                del self._large[next(iter(self._large))]
            self._large[key] = None
            return False
        size += BESIDE + OBJECT * len(reply)
        while map_ and (len(map_) >= self._max_entries or self.bytes + size > self._max_bytes):
            self._make_room()
        map_[key] = Entry(reply, size)
        self.bytes += size
        return True

    def settle(self, entry: Entry, record: object, size: int) -> None:
        """Keep ``record``, of so many bytes, in the place of the reply of an entry that is in the map.

        It may be larger than the reply, and then others make room, or the entry itself.
        """
        entry.record, entry.reply = record, None
        self.bytes += SETTLED + size - entry.size
        entry.size = SETTLED + size
        while self.bytes > self._max_bytes:
            self._make_room()

    def drop(self, key: str) -> bool:
        """Drop the entry with that key. Return whether there was one."""
        entry = self._map.pop(key, None)
        if entry is None:
            return False
        self.bytes -= entry.size
        return True

    def clear(self) -> bool:
        """Drop all entries, and forget which were too large. Return whether there were any entries."""
        self._large.clear()
        if not self._map:
            return False
        self._map.clear()
        self.bytes = 0
        return True

    def _make_room(self) -> None:
        key, entry = next(iter(self._map.items()))
        if entry.is_used:
            entry.is_used = False
            self._map.move_to_end(key)
        else:
            self.drop(key)
            self.evictions += 1
