"""The scripts of the Redis store, and the form of the index entries that they read and write. Records: ``record``.

An index lists the sessions of users. It is one sorted set per slot tag. Its key (``user:{tag}:sandbox``) contains no
user, because a call that has only the id of a session must name the index too. Users with equal tags share an index.

An entry is binary, and short: a sorted set whose entries have up to 64 bytes is stored in its compact form, which takes
152 bytes for one entry instead of 1,022. It has these parts:

===== ======== ========================================================================================================
bytes part     what it is
===== ======== ========================================================================================================
8     mark     A hash of the user. Users with equal tags do not have equal marks: the two are 88 bits together.
1     form     How the id is stored, see below.
8     created  When the session was created, in microseconds. Entries of one deadline are in the order of creation.
...   id       As the form says.
===== ======== ========================================================================================================

==== =================================================================================================================
form the id, as the key has it (quoted)
==== =================================================================================================================
-    ``sess-``, user part, second, random digits and the tag of the index: 5 bytes for the second, then the user part
     and the random digits
.    ``sess-``, some text and the tag of the index: only the text
:    any text: the whole
+    of a session in another slot: what its incarnation has after the creation time, ``:`` and the whole id
==== =================================================================================================================

So an entry for an id made here has at most 63 bytes, whoever the user is. The field ``head`` of a session has mark and
form, because a script can make no hash of the user in reasonable time.

The incarnation is the creation time and a dot. If the tag of the session is not the tag of its user, random digits
follow the dot, and the session has the whole incarnation in its field ``inc``, and no ``head``. The score is the
deadline in milliseconds, negative if the session is condemned (``lua/include/condemn.lua``). The set lives a little
longer than its last entry, so that not every new entry moves the deadline of the set.

The Lua is in ``lua/``, a file for each script. Scripts pass whole numbers to commands as they are: Redis writes up to
17 digits of them exactly. To write such a number takes a server longer than to read a field. So the time now, which
every script writes, is put together from the two texts of TIME. A script that runs for every request makes no function
that it does not call: to make a function costs about as much as to read a field.
"""

from __future__ import annotations

from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import UNSETTLED_IDLE, VERSION, in_microseconds
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.contract import LAST_DEADLINE

__all__ = [
    "ABSENT",
    "ALWAYS",
    "ANYBODY",
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
# Bytes of records that one script opens, which takes some 2 ms at most; and the bytes that take as long as one field.
MOST_OPENED, FIELD_WEIGHT = 700_000, 500
# Arguments that open a session however lately it was touched, and whoever's it is.
ALWAYS, ANYBODY = (b"0",), b""
MAX_VICTIMS = 200  # sessions that one script ends: the server serves no other client meanwhile
MAX_LOOK = 1000  # entries of an index that one script reads, for the same reason

# Scripts for a session, and for the index if that is in the slot of the session.
TOUCH = BatchScript(load("touch", VERSION=int(VERSION)))
OPEN = BatchScript(load("open", VERSION=int(VERSION), MOST=MOST_OPENED, FIELD=FIELD_WEIGHT), usual=(ALWAYS, ANYBODY))
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

# Scripts for an index.
MEMBERS = Script(load("index_members"))
END = Script(load("index_end"))
FILE = Script(load("index_file", MAX_VICTIMS=MAX_VICTIMS, MAX_LOOK=MAX_LOOK))
MOVE = Script(load("index_move"))
LOWER = Script(load("index_lower"))
