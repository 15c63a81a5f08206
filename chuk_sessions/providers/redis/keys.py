"""Every key that this package writes on Redis, on one page; and the functions that make these keys and take them apart.

``T`` is the slot tag (6 hex digits, see ``ids``). Redis Cluster hashes the text in braces, so all keys with one tag
share a slot. ``quote_part`` quotes sandbox and id: neither can bring in a colon, a brace or a wildcard.

======================================== ================= ============================================================
key                                      made by           what it holds, and for how long
======================================== ================= ============================================================
``session:{T}:sandbox:id``               session_key       A session (a hash, see ``record``), until it expires; or an
                                                           alias: a hash with the one field ``alias``, which has the id
                                                           that a renewed session has now, for the grace of the renewal.
``user:{T}:sandbox``                     index_key         The index of the users with that tag: a sorted set of their
                                                           sessions by deadline (see ``scripts``), a little longer
                                                           than the last of these.
``user:{T}:sandbox:incarnation``         marker_key        A marker in the slot of a session whose index is elsewhere:
                                                           a pending create of that incarnation must stop. An hour.
``ended:{T}:sandbox:id``                 tombstone_key     When that session was ended, in microseconds: keeps out
                                                           copies that a legacy process writes back. A day longer than
                                                           the session. Only with ``SESSION_LEGACY_READ``.
``taken:{T}:sandbox:id``                 arrival_key       That session has come here and its original may not be gone
                                                           yet: when each of the two was created. Until the original is
                                                           gone, or the session expires. Only by ``migrate``.
``session:id``                           legacy_key        A legacy session, of 0.2 to 0.6: one JSON text. We read it
                                                           and remove it, and never write it. The id is not quoted.
``taken:{...}:session:id``               takeover_key      That legacy session was moved, not ended: when it was
                                                           created. In the slot of its key, for ten minutes. Only in a
                                                           cluster.
``chuk-sessions:migrate``                MIGRATE_LOCK      The lock of a migration from this database. A minute.
``chuk-sessions:same:random``            probe_key         Whether two URLs lead to one database. Ten seconds at most.
``session:{T}:chuk-sessions-check:id``   session_key       What ``check`` tries all operations on, with its index in
                                                           ``user:{T}:chuk-sessions-check``. Removed at the end.
``chuk-sessions-check:session:{T}:...``  check_value_key   The value that ``check`` tries the provider API on. Likewise.
======================================== ================= ============================================================

Keys of the provider API (``set``, ``get``, ``delete``) belong to the application: they are sent unchanged.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import count

from chuk_sessions.ids import TAG_DIGITS, OversizedError, quote_part, session_key, slot_tag, unquote_part
from chuk_sessions.redis_client.slots import hashed_part, slot_of

__all__ = [
    "ALL_INDEXES",
    "ALL_SESSIONS",
    "CHECK_SANDBOX",
    "LEGACY_PREFIX",
    "MIGRATE_LOCK",
    "TAG_IN_KEY",
    "arrival_key",
    "check_value_key",
    "id_in_key",
    "index_key",
    "legacy_key",
    "marker_key",
    "name_in_key",
    "names_in_key",
    "probe_key",
    "quote_part",
    "sandbox_of_index",
    "session_key",
    "sessions_of",
    "tag_in_index",
    "tag_in_key",
    "takeover_key",
    "tombstone_key",
    "unquote_part",
]

PREFIX = "session:"
LEGACY_PREFIX = PREFIX.encode()
ALL_SESSIONS = LEGACY_PREFIX + b"*"  # the pattern of all session keys, legacy ones too
ALL_INDEXES = b"user:{" + b"?" * TAG_DIGITS + b"}:*"  # the pattern of all indexes of users; markers fit it too
MIGRATE_LOCK = b"chuk-sessions:migrate"
CHECK_SANDBOX = "chuk-sessions-check"
TAG_IN_KEY = slice(len("session:{"), len("session:{") + TAG_DIGITS)
TAG_IN_INDEX = slice(len("user:{"), len("user:{") + TAG_DIGITS)
INDEX_KEY = re.compile(rb"user:\{[0-9a-f]{6}\}:([A-Za-z0-9._~@%-]*)")
SESSION_KEY = re.compile(rb"session:\{[0-9a-f]{6}\}:([A-Za-z0-9._~@%-]*):[A-Za-z0-9._~@%-]*")


# Sessions and their users. ``session_key`` is in ``ids``, because sessions over a custom provider have that key too.


def index_key(quoted_sandbox: str, tag: str) -> str:
    """Make the key of the index of all users with that tag; it is in the slot of the sessions with that tag."""
    return f"user:{{{tag}}}:{quoted_sandbox}"


def sandbox_of_index(key: bytes) -> str | None:
    """Return the sandbox of the index with this key; None if it is no key of an index."""
    match = INDEX_KEY.fullmatch(key)
    return None if match is None else unquote_part(match[1].decode())


def marker_key(quoted_sandbox: str, session_id: str, incarnation: bytes) -> str:
    """Make the key of the marker that stops a pending create of that incarnation; in the slot of the session."""
    return f"{index_key(quoted_sandbox, slot_tag(session_id))}:{incarnation.decode()}"


def tag_in_index(key: str) -> str:
    """Return the slot tag of the index that has this key."""
    return key[TAG_IN_INDEX]


def tag_in_key(key: str) -> str:
    """Return the slot tag of the session that has this key."""
    return key[TAG_IN_KEY]


def name_in_key(key: str) -> str:
    """Return the id of the session that has this key, still quoted."""
    return key.rpartition(":")[2]


def id_in_key(quoted_sandbox: str, key: bytes) -> str | None:
    """Return the id of the session that has this key; None if it is no key of a session of that sandbox."""
    session_id = unquote_part(key.rpartition(b":")[2].decode(errors="replace"))
    try:
        ours = session_key(quoted_sandbox, session_id)
    except OversizedError:
        return None
    return session_id if ours.encode(errors="replace") == key else None


def names_in_key(key: bytes) -> tuple[str, str] | None:
    """Return the sandbox and the id of the session that has this key; None if it is no key of a session."""
    match = SESSION_KEY.fullmatch(key)
    if match is None:
        return None
    sandbox_id = unquote_part(match[1].decode())
    session_id = id_in_key(quote_part(sandbox_id), key)
    return None if session_id is None else (sandbox_id, session_id)


def sessions_of(quoted_sandbox: str) -> bytes:
    """Make the pattern of a sandbox's session keys. The legacy key of an odd id may fit it too: see ``id_in_key``."""
    return f"session:{{{'?' * TAG_DIGITS}}}:{quoted_sandbox}:*".encode()


# Sessions that are moved from other storage, and from the layout of 0.2 to 0.6.


def tombstone_key(key: str) -> str:
    """Make the key that remembers that the session with ``key`` was ended; in the same slot."""
    return "ended:" + key.removeprefix(PREFIX)


def arrival_key(key: str) -> str:
    """Make the key that remembers that the session with ``key`` came and its original may not be gone; in its slot."""
    return "taken:" + key.removeprefix(PREFIX)


def legacy_key(session_id: str) -> bytes:
    """Make the key that 0.2 to 0.6 gave that session."""
    return LEGACY_PREFIX + session_id.encode("utf-8", "surrogatepass")


def takeover_key(legacy: bytes) -> bytes:
    """Make the key that remembers that the session with the legacy key was moved; in the same slot."""
    tag = hashed_part(legacy)
    if b"}" in tag:  # the tag in braces would end there
        tag = _tag_of(slot_of(legacy))
    return b"taken:{" + tag + b"}:" + legacy


@lru_cache(maxsize=1024)
def _tag_of(slot: int) -> bytes:
    """Find a text of that slot: one text in 16,384 is."""
    return next(text for text in (b"%d" % number for number in count()) if slot_of(text) == slot)


# The command line.


def probe_key(random_bytes: bytes) -> bytes:
    """Make the key by which ``migrate`` finds out whether two URLs lead to one database."""
    return b"chuk-sessions:same:" + random_bytes.hex().encode()


def check_value_key(session_id: str) -> str:
    """Make the key of the value of ``check``, in the slot of its session, which is on the server that is checked."""
    return f"{CHECK_SANDBOX}:{session_key(CHECK_SANDBOX, session_id)}"
