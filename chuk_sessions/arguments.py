"""What the arguments of ``SessionManager`` must be: a wrong one is an error that names it, and nothing is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from os import urandom
from typing import Any

from chuk_sessions import grid
from chuk_sessions.environment import leave, variable

__all__ = ["check_batch", "check_idle", "check_interval", "check_limit", "check_user", "choose_sandbox", "seconds_of"]

MAX_HOURS = 100 * 365.25 * 24
HOUR = 3600.0
MAX_LIMIT = 10_000  # sessions per user: on Redis the script that counts them looks at each
MAX_BATCH = 10_000
SANDBOX_VARIABLES = ("CHUK_SANDBOX_ID", "CHUK_HOST_SANDBOX_ID")


def choose_sandbox(sandbox_id: str | None, random_bytes: Callable[[int], bytes] = urandom) -> str:
    """The sandbox of a manager that was given this one, or None; see ``SessionManager``."""
    name = "sandbox_id"
    for each in SANDBOX_VARIABLES:
        if sandbox_id is None and (text := variable(each)):
            sandbox_id, name = text, each
    if sandbox_id is None:
        sandbox_id = f"sandbox-{random_bytes(4).hex()}"
    sandbox_id = grid.check_segment(name, sandbox_id)
    if variable(SANDBOX_VARIABLES[0]) in ("", sandbox_id):  # also without the white space that stood around it
        leave(SANDBOX_VARIABLES[0], sandbox_id)
    return sandbox_id


def _number(name: str, value: Any, unit: str) -> float:
    if not hasattr(type(value), "__float__"):
        raise TypeError(f"{name} must be a number of {unit}, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a signalling NaN
        return math.nan


def check_user(name: str, value: Any, alternative: str = "") -> str:
    """A user id as a plain str; TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str{alternative}, got {type(value).__name__}")
    return grid.plain(value)


def seconds_of(name: str, hours: Any) -> float:
    """Hours as seconds; ValueError unless they are over 0 and at most 100 years."""
    value = _number(name, hours, "hours")
    if not 0 < value <= MAX_HOURS:
        raise ValueError(f"{name} must be over 0 and at most {MAX_HOURS:.0f} hours (100 years), got {value!r}")
    return value * HOUR


def check_limit(number: Any) -> int:
    """How many sessions a user may have; 0 for None, which is any number."""
    if number is None:
        return 0
    if type(number) is not int:
        raise TypeError(f"max_sessions_per_user must be an int or None, got {type(number).__name__}")
    if not 1 <= number <= MAX_LIMIT:
        raise ValueError(f"max_sessions_per_user must be from 1 to {MAX_LIMIT}, got {number!r}")
    return number


def check_idle(minutes: Any, touch_interval: float) -> float:
    """Seconds from a touch that is written to the end of the session; 0 for None, which is no idle time.

    The last touch may have been written up to ``touch_interval`` before the last use: so much is added, that no
    session ends early.
    """
    if minutes is None:
        return 0.0
    seconds = _number("idle_ttl_minutes", minutes, "minutes") * 60
    if not 0 < seconds <= MAX_HOURS * HOUR:
        raise ValueError("idle_ttl_minutes must be over 0 and at most 100 years")
    if touch_interval > seconds / 2:
        raise ValueError("touch_interval must be at most half of idle_ttl_minutes")
    return seconds + touch_interval


def check_batch(number: Any) -> int:
    """How many sessions to read at a time."""
    if type(number) is not int or not 1 <= number <= MAX_BATCH:
        raise ValueError(f"batch must be a whole number from 1 to {MAX_BATCH}, got {number!r}")
    return number


def check_interval(seconds: Any, name: str = "touch_interval") -> float:
    """Seconds as a float; ValueError unless they are from 0 to 100 years."""
    value = _number(name, seconds, "seconds")
    if not 0 <= value <= MAX_HOURS * HOUR:
        raise ValueError(f"{name} must be from 0 seconds to 100 years, got {value!r}")
    return value
