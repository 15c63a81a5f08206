"""The batches of scripts that calls may still join: one on a lone server, one for each slot in a cluster.

A deployment makes its kind of container at construction, so that a lone server does not pay for the needs of a cluster.
"""

from __future__ import annotations

__all__ = ["OneBatch", "SlotBatches", "Tally"]

MANY = 64  # batches: with more it is worth looking for batches that were written

OneBatch = list[object]  # for a lone server, all of whose keys are in slot 0: the batch, or None


class SlotBatches(dict[int, object]):
    """Holds the batch of each slot, None where there is none. Once there are many, drops those that were written."""

    def __init__(self) -> None:
        super().__init__()
        self._many = MANY

    def __missing__(self, slot: int) -> None:
        return None

    def __setitem__(self, slot: int, batch: object) -> None:
        super().__setitem__(slot, batch)
        if len(self) > self._many:
            for other in [other for other, each in self.items() if getattr(each, "written", True)]:
                del self[other]
            self._many = max(MANY, 2 * len(self))


class Tally:
    """Counts the batch scripts that were written, with a key for each caller, and the keys of these scripts."""

    __slots__ = ("keys", "scripts")

    def __init__(self) -> None:
        self.scripts = self.keys = 0
