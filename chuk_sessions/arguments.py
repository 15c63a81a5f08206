"""The checks of the arguments of ``SessionManager``. An error names the wrong argument, and nothing is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from os import urandom
from typing import Any

from chuk_sessions import grid
from chuk_sessions.codec import Metadata, text_key, text_keys
from chuk_sessions.environment import leave, variable
from chuk_sessions.ids import MAX_ID_BYTES, MAX_USER_BYTES, check_size
from chuk_sessions.stores.contract import INT64

__all__ = [
    "check_batch",
    "check_count",
    "check_flag",
    "check_id",
    "check_idle",
    "check_interval",
    "check_keep",
    "check_limit",
    "check_near",
    "check_new_id",
    "check_removed",
    "check_several",
    "check_user",
    "choose_sandbox",
    "id_or_error",
    "not_found",
    "seconds_of",
]

MAX_HOURS = 100 * 365.25 * 24
HOUR = 3600.0
MAX_LIMIT = 10_000  # sessions per user: a create looks through all of them for the oldest
MAX_BATCH = 10_000
LEAST_NEAR = 0.1  # seconds; a shorter lease would be over before many a round trip is
SANDBOX_VARIABLES = ("CHUK_SANDBOX_ID", "CHUK_HOST_SANDBOX_ID")


def choose_sandbox(sandbox_id: str | None, random_bytes: Callable[[int], bytes] = urandom) -> str:
    """Choose the sandbox of a manager: the argument, else one of the variables, else a random name."""
    name = "sandbox_id"
    for each in SANDBOX_VARIABLES:
        if sandbox_id is None and (text := variable(each)):
            sandbox_id, name = text, each
    if sandbox_id is None:
        sandbox_id = f"sandbox-{random_bytes(4).hex()}"
    sandbox_id = grid.check_segment(name, sandbox_id)
    if variable(SANDBOX_VARIABLES[0]) in ("", sandbox_id):  # this also strips white space from the variable
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
    """Return a user id as a plain str. Raises TypeError if it is no str, ValueError if it is over 64 KiB."""
    if type(value) is str and len(value) <= MAX_USER_BYTES // 4:
        return value
    user_id = grid.check_text(name, value, alternative)
    check_size(name, user_id, MAX_USER_BYTES)
    return user_id


def check_id(name: str, value: Any) -> str:
    """Return a session id as a plain str. Raises TypeError if it is no str, ValueError if it is over 1 KiB."""
    if type(value) is str and len(value) <= MAX_ID_BYTES // 4:  # a character takes four bytes at most
        return value
    session_id = grid.check_text(name, value)
    check_size(name, session_id, MAX_ID_BYTES)
    return session_id


def check_new_id(name: str, value: Any) -> str:
    """Return a session id that may be allocated. Raises as ``check_id``, and ValueError if it is no path segment."""
    return grid.check_segment(name, check_id(name, value))


def not_found(session_id: str) -> bool:
    """Return False for a session that was not found. Raises ValueError for an id over 1 KiB, which no session can have.

    Not every storage checks the size. A check only here costs nothing for sessions that are found.
    """
    check_size("session_id", session_id, MAX_ID_BYTES)
    return False


def id_or_error(value: Any) -> str | Exception:
    """Return one of several ids as a plain str, or the exception of ``check_id``."""
    try:
        return check_id("a session id", value)
    except (TypeError, ValueError) as exc:
        return exc


def check_several(name: str, values: Any, of_what: str) -> list[Any]:
    """Return the items of an iterable. Raises TypeError if it is no iterable, and for text and mappings."""
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several {of_what}, got {type(values).__name__}")
    return list(values)


def check_keep(keep: Any) -> frozenset[str]:
    """Return the ids to keep; the argument is an id, several ids, or None for no id. Raises as ``check_id``."""
    if keep is None:
        return frozenset()
    if isinstance(keep, str):
        return frozenset([check_id("keep", keep)])
    return frozenset(check_id("each id in keep", each) for each in check_several("keep", keep, "ids, one id or None"))


def check_removed(remove: Any, metadata: Metadata) -> tuple[str, ...]:
    """Return the top-level keys that an update by ``metadata`` removes, each once, as the text that JSON makes of it.

    Raises TypeError if ``remove`` is no iterable of keys, or is text, and for an item that cannot be a key; ValueError
    for a key that ``metadata`` has too; MetadataError for metadata whose keys cannot be stored.
    """
    removed = dict.fromkeys(map(_removed_key, check_several("remove", remove, "keys")))
    if removed and not removed.keys().isdisjoint(text_keys(metadata)):
        raise ValueError("a key in remove is in custom_metadata too: it cannot be removed and set; nothing was changed")
    return tuple(removed)


def _removed_key(key: Any) -> str:
    try:
        return text_key(key)
    except TypeError:
        raise TypeError(f"each key in remove must be a str, got {type(key).__name__}") from None


def seconds_of(name: str, hours: Any) -> float:
    """Convert hours to seconds. Raises ValueError unless they are over 0 and at most 100 years."""
    value = _number(name, hours, "hours")
    if not 0 < value <= MAX_HOURS:
        raise ValueError(f"{name} must be over 0 and at most {MAX_HOURS:.0f} hours (100 years), got {value!r}")
    return value * HOUR


def check_flag(name: str, value: Any) -> bool:
    """Return a bool. Raises TypeError for anything else, such as the text ``"false"``."""
    if type(value) is not bool:
        raise TypeError(f"{name} must be a bool, got {type(value).__name__}")
    return value


def check_limit(number: Any) -> int:
    """Return how many sessions a user may have; 0 for None, which means any number."""
    if number is None:
        return 0
    if type(number) is not int:
        raise TypeError(f"max_sessions_per_user must be an int or None, got {type(number).__name__}")
    if not 1 <= number <= MAX_LIMIT:
        raise ValueError(f"max_sessions_per_user must be from 1 to {MAX_LIMIT}, got {number!r}")
    return number


def check_idle(minutes: Any, touch_interval: float) -> float:
    """Return the seconds from the last touch to the end of the session; 0 for None, which means no idle time."""
    if minutes is None:
        return 0.0
    seconds = _number("idle_ttl_minutes", minutes, "minutes") * 60
    if not 0 < seconds <= MAX_HOURS * HOUR:
        raise ValueError("idle_ttl_minutes must be over 0 and at most 100 years")
    if touch_interval > seconds / 2:
        raise ValueError("touch_interval must be at most half of idle_ttl_minutes")
    return seconds


def check_batch(number: Any) -> int:
    """Return how many sessions to read at a time."""
    if type(number) is not int:
        raise TypeError(f"batch must be an int, got {type(number).__name__}")
    if not 1 <= number <= MAX_BATCH:
        raise ValueError(f"batch must be from 1 to {MAX_BATCH}, got {number!r}")
    return number


def check_count(amount: Any) -> int:
    """Return the amount to add to a counter."""
    if type(amount) is not int:
        raise TypeError(f"amount must be an int, got {type(amount).__name__}")
    if amount not in INT64:
        raise ValueError("amount must be a signed integer of 64 bits")
    return amount


def check_interval(seconds: Any, name: str = "touch_interval") -> float:
    """Return seconds as a float. Raises ValueError unless they are from 0 to 100 years."""
    value = _number(name, seconds, "seconds")
    if not 0 <= value <= MAX_HOURS * HOUR:
        raise ValueError(f"{name} must be from 0 seconds to 100 years, got {value!r}")
    return value


def check_near(seconds: Any, touch_interval: float) -> float:
    """Return how old an answer of the near cache may be, 0 without a near cache.

    Raises ValueError without a ``touch_interval``: each validation would then drop what the cache has. Also unless the
    seconds are from 0.1 to ``touch_interval``.
    """
    value = _number("near_cache", seconds, "seconds")
    if value == 0:
        return 0.0
    if not touch_interval:
        raise ValueError("near_cache needs a touch_interval: each validation would write, and drop what is cached")
    if not LEAST_NEAR <= value <= touch_interval:
        raise ValueError(
            f"near_cache must be 0 or from {LEAST_NEAR} to touch_interval ({touch_interval:g}) seconds, got {value!r}"
        )
    return value
