"""Tells whether anything but its bucket refers to a filing of the expiring map.

A filing is a float of its own. While the filing is valid, the entry of its key refers to it. An operation that makes
the filing stale drops the entry, and with it the reference. So the count of references tells a stale filing from a
valid one, without a look at the key. A look at the key visits four places in memory that are far apart, and took ten
times as long for 100,000 keys.

If some code holds an entry meanwhile, a stale filing looks valid. This does no harm: the next look drops the filing.
The other error cannot occur under the GIL. Without a GIL, a count may be read while another thread changes it:
``locked`` asks for the keys.
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
    """Count as in ``ExpiringMap``: the bucket, a copy of a part of it, and the copied filings refer to a filing."""
    bucket = ["key", float("1.5")]
    here = bucket[:]
    return next(_counts(here[1::2]))


STALE = _count_of_a_stale_filing()


def references(filings: list[Any]) -> list[int]:
    """Count the references to each filing beyond those that every filing has: 0 for a stale one."""
    return list(map(sub, _counts(filings), repeat(STALE)))
