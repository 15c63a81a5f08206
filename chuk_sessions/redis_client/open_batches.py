"""The batches of scripts that calls may still join: one on a lone server, one for each slot in a cluster."""

from __future__ import annotations

from typing import Any

__all__ = ["OpenBatches", "Tally"]

MANY = 64  # batches: with more it is worth looking for batches that were settled before they were written


class OpenBatches(dict[int, Any]):
    """Holds the batch of each slot. A batch removes itself when it is written.

    One whose callers have all given up is never written. Once there are ``many`` batches, it is worth a look for those.
    """

    many = MANY

    def clear_settled(self) -> None:
        """Remove the batches that no call may join."""
        for slot in [slot for slot, batch in self.items() if batch.written]:
            del self[slot]
        self.many = max(MANY, 2 * len(self))


class Tally:
    """Counts the batch scripts that were written, with a key for each caller, and the keys of these scripts."""

    __slots__ = ("joined", "scripts")

    def __init__(self) -> None:
        self.scripts = 0
        self.joined = 0  # keys beyond the first one of a script

    @property
    def keys(self) -> int:
        """The keys of all scripts."""
        return self.scripts + self.joined
