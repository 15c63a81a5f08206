"""Helpers of 0.6.3: the time as text in this module, CSRF tokens and session ids of protocols in ``security``."""

from __future__ import annotations

import time

from chuk_sessions.models import iso_timestamp

__all__ = ["utc_now_iso"]


def utc_now_iso() -> str:
    """Return the time as ISO-8601 in UTC with six decimals and ``Z``."""
    return iso_timestamp(time.time())
