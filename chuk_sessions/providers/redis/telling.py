"""Twins of the scripts that make room for a session: they also tell which sessions they ended to do so.

A twin is made from the text of its script, so that it does the same. It is made when a manager with ``on_event`` must
make room for the first time; all others send the script as it is.
"""

from __future__ import annotations

from functools import cache

from chuk_sessions.providers.redis.scripts import DOOMED
from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape
from chuk_sessions.redis_client.scripts import Script

__all__ = ["telling", "told"]

TOLD = -12  # {-12, the plain reply, how many were ended, their keys..., the entries of those that were condemned...}
CHOSEN = "doomed = missing[1] and missing\n"  # from here on victims also has sessions that were condemned before
RETURN = "return doomed and {-11, "
TELL = """\
if told[1] then
  local number = #told
  for i = 1, #(doomed or {}) do told[#told + 1] = doomed[i] end
  return {%d, %s, number, unpack(told)}
end
"""


@cache
def telling(script: Script) -> Script:
    """Return the twin of a script that includes ``room.lua``."""
    source = script.source
    before, found, after = source.rpartition(RETURN)
    assert found, "the script does not end as one that makes room"
    assert source.count(CHOSEN) == 1, "the script chooses no sessions to end"
    before = before.replace(CHOSEN, f"told, {CHOSEN.replace('= ', '= {unpack(victims)}, ')}")
    source = "local told = {}\n" + before + TELL % (TOLD, after.partition(",")[0]) + found + after
    return Script(source, script.bounded)


def told(reply: Reply) -> tuple[list[bytes], Reply]:
    """Return the keys of the sessions that a twin has ended, and the reply that its script would have given."""
    if not isinstance(reply, list) or not reply or reply[0] != TOLD:
        return [], reply
    try:
        _, plain, number, *rest = reply
        ended, doomed = rest[:number], rest[number:]
    except SHAPES as exc:
        raise unknown_shape("the script that makes room") from exc
    return ended, [DOOMED, plain, *doomed] if doomed else plain
