"""Whether anything but its bucket refers to a filing of the expiring map.

A filing is a float of its own. The entry of its key refers to it while the filing is valid; whatever ends that drops
the entry, and with it the reference. So the count of references tells a stale filing from a valid one, without a look
at the key: that would be four places in memory that are far apart, and took ten times as long for 100,000 keys.

Who holds an entry meanwhile makes a stale filing look valid, which does no harm: the next look drops it. The other
error cannot occur under the GIL. Without one, a count may be read while another thread changes it: ``locked`` asks
for the keys.
"""

from __future__ import annotations

from itertools import repeat
from operator import sub
from sys import getrefcount
from typing import Any

__all__ = ["references"]


def _counts(filings: list[Any]) -> map[int]:
    return map(getrefcount, filings)


def _count_of_a_stale_filing() -> int:
    """Counted as in ``ExpiringMap``: a bucket refers to it, a copy of a part of that, and the filings of the copy."""
    bucket = ["key", float("1.5")]
    here = bucket[:]
    return next(_counts(here[1::2]))


STALE = _count_of_a_stale_filing()


def references(filings: list[Any]) -> list[int]:
    """How many references there are to each filing beyond those that each of them has."""
    return list(map(sub, _counts(filings), repeat(STALE)))
