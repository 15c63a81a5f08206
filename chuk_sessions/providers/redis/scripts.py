"""The scripts of the Redis store, and what the index entries look like that they read and write; records: ``record``.

The sessions of users are in an index, one sorted set per slot tag. The index (``user:{tag}:sandbox``) is named by the
slot tag alone, because a call that has only the id must name it too. Users whose tags are equal share one, and its
entries say whose they are: ``5:alice`` (the length, so that no two users run together), the incarnation, ``:`` and the
id as it stands in the key. The incarnation is the creation time and a dot. A session whose own tag is not its user's
has random digits behind the dot, and the whole in its field ``inc``. The score is the deadline in milliseconds, with a
minus while the session is about to be ended to make room (``lua/include/condemn.lua``). The set lives at least as long
as its last entry, and a little longer, so that not every new entry moves its deadline.

The Lua is in ``lua/``, a file for each script. Scripts hand whole numbers to commands as they are: Redis writes up to
17 digits of them exactly. What runs for every request makes no function that it does not call: each costs about as much
as reading a field.
"""

from __future__ import annotations

from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import UNSETTLED_IDLE, in_microseconds
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.contract import LAST_DEADLINE

__all__ = [
    "ABSENT",
    "CONDEMNED",
    "CREATE",
    "DELETE",
    "DOOMED",
    "DROP",
    "END",
    "EXTEND",
    "FILE",
    "INCREMENT",
    "KILL",
    "LEFT_OUT",
    "LOWER",
    "MAX_LOOK",
    "MAX_VICTIMS",
    "MEMBERS",
    "MOVE",
    "OPEN",
    "RENEW",
    "RETIME",
    "TOO_LATE",
    "TOUCH",
    "UNREADABLE",
    "UNSETTLED",
    "UPDATE",
    "VISIT",
]

ABSENT, UNREADABLE, CONDEMNED, TOO_LATE, UNSETTLED, LEFT_OUT, DOOMED = 0, -1, -4, -5, -9, -10, -11  # replies
# What one script opens takes some 2 ms at the most: so many bytes, and a field takes as long as so many.
MOST_OPENED, FIELD_WEIGHT = 700_000, 500
MAX_VICTIMS = 200  # sessions that one script ends: the server serves nobody else meanwhile
MAX_LOOK = 1000  # entries of an index that one script looks at, likewise

# A session, and the index if that is in its slot.
TOUCH = BatchScript(load("touch"))
OPEN = BatchScript(load("open", MOST=MOST_OPENED, FIELD=FIELD_WEIGHT))
CREATE = Script(load("create", MAX_VICTIMS=MAX_VICTIMS, MAX_LOOK=MAX_LOOK))
UPDATE = Script(load("update"))
INCREMENT = Script(load("increment"))
EXTEND = Script(load("extend", LAST_DEADLINE=in_microseconds(LAST_DEADLINE), UNSETTLED=UNSETTLED_IDLE))
RETIME = Script(load("retime", LAST_DEADLINE=in_microseconds(LAST_DEADLINE), UNSETTLED=UNSETTLED_IDLE))
DELETE = Script(load("delete"))
RENEW = Script(load("renew", UNSETTLED=UNSETTLED_IDLE))
DROP = Script(load("drop_alias"))
KILL = Script(load("kill"))
VISIT = Script(load("visit"))

# An index.
MEMBERS = Script(load("index_members"))
END = Script(load("index_end"))
FILE = Script(load("index_file", MAX_VICTIMS=MAX_VICTIMS, MAX_LOOK=MAX_LOOK))
MOVE = Script(load("index_move"))
LOWER = Script(load("index_lower"))
