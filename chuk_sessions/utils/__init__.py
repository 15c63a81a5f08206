"""Helpers that 0.6.3 had: the time as text here, CSRF tokens and protocol session ids in ``security``."""

from __future__ import annotations

import time

from chuk_sessions.models import iso_timestamp

__all__ = ["utc_now_iso"]


def utc_now_iso() -> str:
    """The time as ISO-8601 in UTC with six decimals and ``Z``."""
    return iso_timestamp(time.time())
