"""Going through the sessions of a map while it changes, without a copy of it.

A dict keeps its order, whatever is added and removed: what comes later stands behind. So the last entry that was looked
at tells where to go on: right behind it, wherever it stands by then. If it is not there any more, the one that was
looked at some hundreds before it does, so that others may come twice.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice

from chuk_sessions.providers.memory.expiring_map import Entry
from chuk_sessions.providers.memory.session import StoredSession

__all__ = ["PART", "Walk"]

PART = 500  # entries that are copied at a time

Item = tuple[Hashable, Entry]


class Walk:
    """One walk over the sessions in ``items``; each that is there all the while comes at least once."""

    def __init__(self, items: dict[Hashable, Entry]) -> None:
        self._items = items
        self._marks: list[tuple[Hashable, StoredSession, int]] = []  # the last entry of each part, and where it stood

    def part(self) -> list[StoredSession]:
        """The next sessions, in one step for all threads; none at the end. Some may have expired."""
        while True:
            try:
                items = self._next()
            except RuntimeError:  # another thread came between
                continue
            return [entry[0] for _, entry in items]

    def _next(self) -> list[Item]:
        at, items = self._after_the_last()
        if items:
            name, entry = items[-1]
            self._marks.append((name, entry[0], at + len(items) - 1))
        return items

    def _after_the_last(self) -> tuple[int, list[Item]]:
        """Where the next part begins, and what is in it."""
        while self._marks:
            name, session, stood = self._marks[-1]
            entry, back = self._items.get(name), 0
            while entry is not None and entry[0] is session:
                first = max(0, stood - back)
                items = list(islice(self._items.items(), first, stood + 1 + PART))
                for number, item in enumerate(items[: back + 1]):
                    if item[1][0] is session:
                        return first + number + 1, items[number + 1 : number + 1 + PART]
                if first == 0:
                    break
                back = 4 * back or PART
            self._marks.pop()
        return 0, list(islice(self._items.items(), PART))
