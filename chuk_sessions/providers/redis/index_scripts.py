"""The scripts that keep the index of users, one sorted set per slot tag, and the parts of it in those of sessions.

The index of a user's sessions (``user:{tag}:sandbox``) is named by the slot tag alone, because a call that has only the
id must name it too; users whose tags are equal share one, and members say whose they are: ``5:alice`` (the length, so
that no two users run together), the incarnation, ``:`` and the id as it stands in the key. The incarnation is the
creation time and a dot; a session whose own tag is not its user's has random digits behind the dot, and the whole in
its field ``inc``. The score is the deadline in milliseconds. The set lives at least as long as its last member, and a
little longer, so that not every new member moves its deadline.
"""

from __future__ import annotations

from chuk_sessions.redis_client.scripts import Script

__all__ = ["CHOOSE", "END", "FILE", "FILED", "FILING", "MAX_VICTIMS", "MEMBERS", "MOVE"]

MAX_VICTIMS = 200  # sessions that one script ends: the server serves nobody else meanwhile

# The name of a session is found by place, as a pattern would cost as much as a command: before it stands what is four
# characters longer than the key of an index of that sandbox (``session:{tag}:box:``, ``user:{tag}:box``).
MEMBER = """
local function member_of(key, index, user, created, inc)
  return #user .. ':' .. user .. (inc or created .. '.') .. ':' .. string.sub(key, #index + 5)
end
"""

# A member is filed before its session is written, and taken out after that is gone. What expired is taken out by one in
# eight that are filed, which is enough to keep it small. The index gets an eighth more than it needs to live.
FILED = """
  local final = math.ceil(expires / 1000)
  local added = redis.call('ZADD', index, final, member)
  if redis.call('PTTL', index) < final - now / 1000 then
    redis.call('PEXPIREAT', index, final + math.floor((expires - now) / 8000))
  end
  if added == 1 and now % 8 == 0 then
    redis.call('ZREMRANGEBYSCORE', index, '-inf', math.floor(now / 1000))
  end
"""
FILING = f"{MEMBER}local function file(index, member, now, expires)\n{FILED}end\n"

# The live sessions of a user, oldest first, given how the members of that user begin.
LISTING = """
local function live_of(index, mine, now)
  local found, after = {}, '(' .. string.format('%.0f', math.floor(now / 1000))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, after, '+inf')) do
    if string.sub(member, 1, #mine) == mine then found[#found + 1] = member end
  end
  local function born(member) return tonumber(string.match(member, '^%d+', #mine + 1)) end
  table.sort(found, function(a, b) return born(a) < born(b) end)
  return found
end
"""

# Part of ``CREATE``: who is to be ended, and what has ended unseen. ``mine`` is how the members of the user begin.
CHOOSE = (
    LISTING
    + """
local function name_in(text) return string.match(text, '[^:]*$') end
local limit, missing, gone, live, declared = tonumber(ARGV[4]), false, {}, {}, {}
local base = string.sub(key, 1, #index + 4)
victims, members = {}, {}
for i = 3, #KEYS do declared[KEYS[i]] = true end
for _, each in ipairs(live_of(index, mine, now)) do
  local other = base .. name_in(each)
  local born, has_ended = declared[other] and redis.pcall('HGET', other, 'created'), false
  if declared[other] and type(born) ~= 'table' then
    has_ended = not born or string.sub(each, #mine + 1, #mine + #born + 2) ~= born .. '.:'
  end
  table.insert(has_ended and gone or live, each)
end
for i = 1, math.min(#live - limit + 1, MAX_VICTIMS) do
  local name = name_in(live[i])
  members[i], victims[i] = live[i], base .. name
  if not declared[victims[i]] or string.sub(live[i], -#name - 2, -#name - 1) ~= '.:' then missing = true end
end
if missing or #live - limit >= MAX_VICTIMS then
  return {0, #members, unpack(live, 1, math.min(#live, MAX_VICTIMS))}
end
for i = 1, #gone do members[#members + 1] = gone[i] end
""".replace("MAX_VICTIMS", str(MAX_VICTIMS))
)

# KEYS: an index. ARGV: how the members of a user begin. The time, and the members of that user's live sessions, oldest
# first.
MEMBERS = Script(
    LISTING
    + """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', math.floor(now / 1000))
return {string.format('%.0f', now), live_of(KEYS[1], ARGV[1], now)}
"""
)

# KEYS: an index, and sessions in its slot. ARGV: their members. How many were ended. An id that was allocated anew
# since is another session.
END = Script("""
local ended = 0
for i = 2, #KEYS do
  local member, old = ARGV[i - 1], redis.pcall('HMGET', KEYS[i], 'created', 'alias')
  local stamp = old[1] and old[1] .. '.:' .. string.sub(KEYS[i], #KEYS[1] + 5)
  if not old[2] and (not stamp or string.sub(member, -#stamp) == stamp) then
    ended = ended + redis.call('UNLINK', KEYS[i])
  end
  redis.call('ZREM', KEYS[1], member)
end
return ended
""")

# For a session whose user's index is in another slot. First the index: KEYS: it. ARGV: user, random digits, key of the
# session, lifetime, how many sessions the user may have or 0. The incarnation that was filed, or as CREATE what to end.
FILE = Script(
    FILING
    + LISTING
    + """
local clock, limit = redis.call('TIME'), tonumber(ARGV[5])
local now = clock[1] * 1000000 + clock[2]
local live = limit > 0 and live_of(KEYS[1], #ARGV[1] .. ':' .. ARGV[1], now) or {}
if limit > 0 and #live >= limit then
  return {0, unpack(live, 1, math.min(#live - limit + 1, MAX_VICTIMS))}
end
local inc = string.format('%.0f', now) .. '.' .. ARGV[2]
file(KEYS[1], member_of(ARGV[3], KEYS[1], ARGV[1], nil, inc), now, now + ARGV[4])
return inc
""".replace("MAX_VICTIMS", str(MAX_VICTIMS))
)

# KEYS: an index. ARGV: a member, the deadline that its session is about to have. Never moves it nearer.
MOVE = Script(
    FILING
    + """
local clock = redis.call('TIME')
local now, score = clock[1] * 1000000 + clock[2], redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) < ARGV[2] / 1000 then file(KEYS[1], ARGV[1], now, tonumber(ARGV[2])) end
return 1
"""
)
