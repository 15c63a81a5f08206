"""The batches of scripts that calls may still join: one on a lone server, one for each slot in a cluster.

A deployment makes its own at construction, so that what a cluster needs costs nothing on a lone server.
"""

from __future__ import annotations

__all__ = ["OneBatch", "SlotBatches", "Tally"]

MANY = 64  # batches: from then on it is worth looking for those that were written

OneBatch = list[object]  # of a lone server, all of whose keys are in slot 0: the batch, or None


class SlotBatches(dict[int, object]):
    """The batch of each slot, None where there is none. Those that were written go once there are many."""

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
    """How many scripts with a key for each caller were written, and how many keys they had."""

    __slots__ = ("keys", "scripts")

    def __init__(self) -> None:
        self.scripts = self.keys = 0
