"""Session ids, their slot tags, and the key that a session has in any storage.

An id made here is ``sess-{user part}-{unix seconds}-{32 random hex}{tag}``: 128 bits from the operating system, as
OWASP ASVS 5.0 (7.2.3) asks. The tag (6 hex) is the same for all sessions of a user in a sandbox, so that Redis Cluster
keeps them in one slot. For a session without a user, and for one in memory, where there are no slots, the tag is
random. The tag of an id that was not made here is a hash of that id. So in all cases the key of a session follows from
its id alone. For the other keys on Redis see ``providers.redis.keys``.

An opaque id, ``sess-{32 random hex}{tag}``, leaves out user part and time. The tag stays the same, because the sessions
of a user must be in one slot. So a reader of an id who can guess a sandbox and a user id can check whether the id may
belong to that user: one in 16,777,216 other users has the same tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b
from os import urandom
from urllib.parse import quote, unquote

__all__ = [
    "MAX_ID_BYTES",
    "MAX_USER_BYTES",
    "TAG_DIGITS",
    "OversizedError",
    "check_size",
    "fingerprint",
    "is_opaque",
    "is_random",
    "new_local_id",
    "new_opaque_id",
    "new_session_id",
    "quote_part",
    "renewed_id",
    "session_key",
    "slot_tag",
    "unquote_part",
    "user_tag",
]

OWN_ID = re.compile(r"sess-(?:[A-Za-z0-9]{1,8}-[0-9]+-|[0-9]+-|)[0-9a-f]{38}")  # ends with the slot tag
_is_own = OWN_ID.fullmatch
# Makes spaces of all but letters and digits. To let ``translate`` delete them takes longer: it makes a table each time.
TO_SPACES = bytes(byte if byte < 128 and chr(byte).isalnum() else 32 for byte in range(256))
USER_PART_LENGTH = 8
RANDOM_BYTES = 16
TAG_BYTES = 3
TAG_DIGITS = 2 * TAG_BYTES
LOCAL_BYTES = RANDOM_BYTES + TAG_BYTES
MOST_REMEMBERED = 2048  # users of all sandboxes, with user part and tag; and sandboxes, with a hash
RENEW_REMEMBERED = 16 * MOST_REMEMBERED
LONGEST_REMEMBERED = 256  # characters of a user: 2048 of the longest users would take an eighth of a gigabyte
MAX_ID_BYTES = 1024  # of UTF-8
MAX_USER_BYTES = 65_536
SURELY_SMALL = MAX_ID_BYTES // 4  # characters; no character takes more than four bytes


# The second of the last new id: its begin, its end, and its text with a hyphen. Replaced whole: threads may share it.
_last_second = [(0.0, 0.0, "")]
# The begin of an id, up to the user part, and the tag by sandbox and user. Two plain dicts take half the time of
# functools.lru_cache. If there are too many users, further ones are not remembered; once there were many of these, all
# are dropped.
_parts: dict[str, dict[str, tuple[str, str]]] = {}
_remembered = [0]  # about how many users were not found in ``_parts`` since it was empty
_of_sandboxes: dict[str, blake2b] = {}  # the hash that tags of users begin with: to copy it takes half the time


class OversizedError(ValueError):
    """An id or a user id is longer than any stored one can be."""


def check_size(name: str, text: str, most: int) -> None:
    """Raise OversizedError, which names the argument, if the text takes more bytes of UTF-8 than ``most``."""
    if len(text) > most or (4 * len(text) > most and len(text.encode("utf-8", "surrogatepass")) > most):
        raise OversizedError(f"{name} must be at most {most} bytes of UTF-8")


def new_session_id(
    sandbox_id: str, user_id: str | None, unix_time: float, random_bytes: Callable[[int], bytes] = urandom
) -> str:
    """Make a new id for a session of ``user_id`` (None: of nobody), allocated at ``unix_time`` in seconds.

    Raises OversizedError for a user id that is too long.
    """
    since, until, second = _last_second[0]
    if not since <= unix_time < until:
        second = _second_of(unix_time)
    if user_id is None:
        return f"sess-{second}{random_bytes(RANDOM_BYTES + TAG_BYTES).hex()}"
    try:
        parts = _parts[sandbox_id].get(user_id)  # no KeyError: with many users most are not remembered
    except KeyError:
        parts = None
    if parts is None:
        if len(user_id) > SURELY_SMALL:
            check_size("user_id", user_id, MAX_USER_BYTES)
        parts = _user_parts(sandbox_id, user_id)
    begin, tag = parts
    return f"{begin}{second}{random_bytes(RANDOM_BYTES).hex()}{tag}"


def new_local_id(
    sandbox_id: str, user_id: str | None, unix_time: float, random_bytes: Callable[[int], bytes] = urandom
) -> str:
    """Make a new id as ``new_session_id``, for a session in this process: the tag is random, whose session it may be.

    Nothing there has slots, and to hash the user took an eighth of an allocation.
    """
    since, until, second = _last_second[0]
    if not since <= unix_time < until:
        second = _second_of(unix_time)
    if user_id is None:
        return f"sess-{second}{random_bytes(LOCAL_BYTES).hex()}"
    if len(user_id) > SURELY_SMALL:
        check_size("user_id", user_id, MAX_USER_BYTES)
    letters = user_id[:USER_PART_LENGTH]
    if letters.isalnum() and letters.isascii():
        return f"sess-{letters}-{second}{random_bytes(LOCAL_BYTES).hex()}"
    user = user_id.encode("utf-8", "surrogatepass")  # as in ``_user_parts``; nothing is remembered for so little
    letters = user.translate(TO_SPACES).replace(b" ", b"")[:USER_PART_LENGTH].decode()
    return f"sess-{letters}{'-' if letters else ''}{second}{random_bytes(LOCAL_BYTES).hex()}"


def new_opaque_id(
    sandbox_id: str, user_id: str | None, unix_time: float, random_bytes: Callable[[int], bytes] = urandom
) -> str:
    """Make a new id as ``new_session_id``, but without user part and time: ``unix_time`` is ignored."""
    if user_id is None:
        return f"sess-{random_bytes(RANDOM_BYTES + TAG_BYTES).hex()}"
    check_size("user_id", user_id, MAX_USER_BYTES)
    return f"sess-{random_bytes(RANDOM_BYTES).hex()}{user_tag(sandbox_id, user_id)}"


def _second_of(unix_time: float) -> str:
    second = int(unix_time)
    text = f"{second}-"
    _last_second[0] = float(second), second + 1.0, text
    return text


def renewed_id(
    session_id: str, unix_time: float, random_bytes: Callable[[int], bytes] = urandom, *, opaque: bool = False
) -> str:
    """Make a new id for the session with this id. It has the same tag, and so the same slot and index.

    If ``session_id`` is opaque, or with ``opaque``, the new id is opaque.
    """
    if opaque or is_opaque(session_id):
        return f"sess-{random_bytes(RANDOM_BYTES).hex()}{slot_tag(session_id)}"
    prefix = session_id.rsplit("-", 2)[0] if is_random(session_id) else "sess"
    return f"{prefix}-{int(unix_time)}-{random_bytes(RANDOM_BYTES).hex()}{slot_tag(session_id)}"


def _user_parts(sandbox_id: str, user_id: str) -> tuple[str, str]:
    """Make the common parts of the ids of a user's sessions, begin and tag; ``_parts`` may remember them."""
    user = user_id.encode("utf-8", "surrogatepass")
    letters = user.translate(TO_SPACES).replace(b" ", b"")[:USER_PART_LENGTH].decode()
    tag = (_of_sandboxes.get(sandbox_id) or _of_sandbox(sandbox_id)).copy()
    tag.update(user)
    parts = (f"sess-{letters}-" if letters else "sess-"), tag.hexdigest()
    if len(user_id) > LONGEST_REMEMBERED:
        return parts
    _remembered[0] = number = _remembered[0] + 1
    if number > MOST_REMEMBERED:  # to remember a user takes longer than what it may save, if there are that many
        if number >= RENEW_REMEMBERED:
            _parts.clear()
            _remembered[0] = 0
        return parts
    try:
        _parts[sandbox_id][user_id] = parts
    except KeyError:
        _parts.setdefault(sandbox_id, {})[user_id] = parts
    return parts


def _of_sandbox(sandbox_id: str) -> blake2b:
    """Remember the hash of a sandbox and a NUL, to be copied: with the user added, it is the user's tag. Return it."""
    if len(_of_sandboxes) >= MOST_REMEMBERED:
        _of_sandboxes.clear()
    new = blake2b(f"{sandbox_id}\0".encode("utf-8", "surrogatepass"), digest_size=TAG_BYTES)
    _of_sandboxes[sandbox_id] = new
    return new


def user_tag(sandbox_id: str, user_id: str) -> str:
    """Return the slot tag of a user's index, and of the ids made here for that user's sessions."""
    try:
        return _parts[sandbox_id][user_id][1]
    except KeyError:
        return _user_parts(sandbox_id, user_id)[1]


def is_random(session_id: str) -> bool:
    """Tell whether the id has the form of ids made here: such an id is not allocated again after it was deleted."""
    return OWN_ID.fullmatch(session_id) is not None


def is_opaque(session_id: str) -> bool:
    """Tell whether the id has the form of ids made here without user and time."""
    return session_id.count("-") == 1 and is_random(session_id)


def slot_tag(session_id: str) -> str:
    """Return the slot tag of any session id, made here or not."""
    return session_id[-TAG_DIGITS:] if _is_own(session_id) else _hash(session_id, TAG_BYTES)


def session_key(quoted_sandbox: str, session_id: str) -> str:
    """Make the storage key of a session; ``quoted_sandbox`` comes from ``quote_part``.

    No two pairs of sandbox and id share a key, and no id can bring in a hash tag, a pattern or an ACL wildcard. Raises
    OversizedError for an id that is too long: no session has such an id, and to quote it would take long.
    """
    if _is_own(session_id):
        return f"session:{{{session_id[-TAG_DIGITS:]}}}:{quoted_sandbox}:{session_id}"
    if len(session_id) > SURELY_SMALL:
        check_size("session_id", session_id, MAX_ID_BYTES)
    return f"session:{{{_hash(session_id, TAG_BYTES)}}}:{quoted_sandbox}:{quote_part(session_id)}"


def quote_part(part: str) -> str:
    """Percent-encode the characters of ``part`` outside ``[A-Za-z0-9._~@-]``."""
    return quote(part, safe="@", errors="surrogatepass")


def unquote_part(text: str) -> str:
    """Do the inverse of ``quote_part``."""
    return unquote(text, errors="surrogatepass")


def fingerprint(session_id: object) -> str:
    """Return a short hash of an id for logs and errors: equal in every process, useless to take over a session."""
    return _hash(str(session_id), 4)


def _hash(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
