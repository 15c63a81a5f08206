"""The scripts that the Redis store is made of: one hash per session; see ``index_scripts`` for the users' index.

Times in a record are microseconds since the epoch by the server's clock, so that no application clock matters.
A metadata key ``k`` is the field ``m:k``: no name that an application chooses can shadow a field of ours.

A record that has more than the usual fields (``inc``, or ``idle`` and ``end``) is of version ``1+``: a field that is
not there costs the server the most to look for, so the usual record is not asked for these.

Scripts hand whole numbers to commands as they are: Redis writes up to 17 digits of them exactly. What runs for every
request makes no function that it does not call: each costs about as much as reading a field.
"""

from __future__ import annotations

from chuk_sessions.providers.redis.index_scripts import CHOOSE, FILED, FILING
from chuk_sessions.redis_client.scripts import BatchScript, Script

__all__ = [
    "ABSENT",
    "CONDEMNED",
    "CREATE",
    "DELETE",
    "DROP",
    "ENDING",
    "EXTEND",
    "INCREMENT",
    "KILL",
    "METADATA",
    "RENEW",
    "TOUCH",
    "UNREADABLE",
    "UPDATE",
    "VERSION",
    "VERSIONS",
    "VISIT",
    "WRITE",
]

VERSION = b"1"
VERSIONS = (VERSION, VERSION + b"+")
METADATA = b"m:"
ABSENT, UNREADABLE, CONDEMNED = 0, -1, -4

# For any number of keys. Looks at no more than it needs, because it runs for every request: version, last access, end.
# Being full or unable to save must not end sessions: the touch is then left out. With an idle time that would end them,
# so moving the deadline comes first, which a full server takes, and after that all that it would refuse else. Redis 6.2
# puts the place in the script before the code of an error. That the server is a replica is the error of the whole
# reply: the client acts on it.
TOUCH = BatchScript("""
local function says(reply, code)
  return string.find(reply.err, '^' .. code) or string.find(reply.err, ': -' .. code, 1, true)
end
local version, interval, clock = ARGV[1], tonumber(ARGV[2]), redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local text = string.format('%.0f', now)
local found = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires')
  local accessed, expires = tonumber(old[2] or nil), tonumber(old[3] or nil)
  local plain = old[1] == version
  if (plain or old[1] == version .. '+') and accessed and expires then
    found[i] = expires > now and now or 0
    if expires > now and now > accessed and now - accessed >= interval then
      local done, stays = nil, nil
      if not plain then
        local more = redis.call('HMGET', key, 'idle', 'end')
        local idle, last = tonumber(more[1] or nil), tonumber(more[2] or nil)
        stays = idle and last and math.max(expires, math.min(last, now + idle))
      end
      if stays then
        done = redis.pcall('PEXPIREAT', key, math.ceil(stays / 1000))
        if type(done) ~= 'table' then done = redis.pcall('HSET', key, 'accessed', text, 'expires', stays) end
      else
        done = redis.pcall('HSET', key, 'accessed', text)
      end
      if type(done) == 'table' then
        if says(done, 'READONLY') then return done end
        if not says(done, 'OOM') and not says(done, 'MISCONF') then found[i] = done end
      end
    end
  elseif old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then
    found[i] = old
  elseif old.err or old[1] or redis.call('EXISTS', key) == 1 then
    found[i] = not old.err and not old[1] and redis.call('HGET', key, 'alias') or -1
  else
    found[i] = 0
  end
end
return found
""")

# What the scripts that change a session begin with. ``found`` is true for a live record of this version; a key that
# holds anything else is UNREADABLE and left alone. Only a wrong type is taken for that: other errors (a missing
# permission, say) are the caller's to hear. The fields of metadata are not looked into here. A session that was given
# a new id leaves an alias for a while: the name of that id, to be asked for in its place.
LOOK = """
local key, version, clock = KEYS[1], ARGV[1], redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires', 'created', 'status', 'user')
if old.err then
  if string.sub(old.err, 1, 9) == 'WRONGTYPE' then return -1 end
  return old
end
local found, inc, idle, last = old[1] == version, false, false, false
if not found and old[1] == version .. '+' then
  local more = redis.call('HMGET', key, 'inc', 'idle', 'end')
  found, inc, idle, last = true, more[1], tonumber(more[2] or nil), more[3]
end
if found then
  local accessed, expires, created = old[2], old[3], old[4]
  if not (accessed and expires and created and old[5]) or #accessed > 17 or #expires > 17 or #created > 17
    or string.find(accessed .. expires .. created, '%D') then return -1 end
  found = tonumber(expires) > now
elseif old[1] then
  return -1
elseif redis.call('EXISTS', key) == 1 then
  local alias = redis.call('HGET', key, 'alias')
  return alias and {'>', alias} or -1
end
"""

# A Lua call takes under 8,000 arguments, hence the slices.
WRITE = (
    LOOK
    + """
local function write(command, items)
  for i = 1, #items, 2000 do
    redis.call(command, key, unpack(items, i, math.min(i + 1999, #items)))
  end
end
local touched = found and math.max(now, tonumber(old[2]))
local stays = found and idle and tonumber(last or nil)
stays = stays and math.max(tonumber(old[3]), math.min(stays, now + idle))
local function touch(items)
  items[#items + 1], items[#items + 2] = 'accessed', touched
  if stays then items[#items + 1], items[#items + 2] = 'expires', stays end
  write('HSET', items)
  if stays then redis.call('PEXPIREAT', key, math.ceil(stays / 1000)) end
end
"""
)

# KEYS: the session; with a user its index, if it is in this slot, and sessions that may be ended to make room; else the
# key that says that this incarnation was ended before it began. ARGV: version, lifetime, how the members of that user
# begin (nothing if there is none in this slot), how many sessions the user may have or 0, microseconds from a touch to
# its end or 0, incarnation or '', fields and values. If there is no room, and who must be ended is not among the keys:
# how many that are, and all live sessions, oldest first, so that others which come first do no harm. One that ended
# unseen (nobody touched it) is told by its key.
#
# Once a script has written, a full server refuses it nothing more: the first write is the one that it may refuse. What
# an expired record holds besides is removed after HSET: without its key a script breaks off when the slot is on its way
# to another node. PEXPIREAT comes last: were the deadline to pass in between, nothing could be written after it. If it
# fails, nothing must be left without a TTL.
CREATE = Script(
    """
local key, stale = KEYS[1], nil
if redis.call('EXISTS', key) == 1 then
"""
    + WRITE
    + """
  if found then
    touch({})
    return {old[6]}
  end
  stale = redis.call('HKEYS', key)
end
local clock, version, mine, inc = redis.call('TIME'), ARGV[1], ARGV[3], ARGV[6]
local now = clock[1] * 1000000 + clock[2]
local stamp, expires, index, member = string.format('%.0f', now), now + ARGV[2], nil, nil
if inc ~= '' then
  version = ARGV[1] .. '+'
  if redis.call('EXISTS', KEYS[2]) == 1 then return -4 end
elseif mine ~= '' then
  local victims, members = nil, nil
  index, member = KEYS[2], mine .. stamp .. '.:' .. string.sub(key, #KEYS[2] + 5)
  if ARGV[4] ~= '0' then
    CHOOSE
  end
  FILED
  if victims then
    if victims[1] then redis.call('UNLINK', unpack(victims)) end
    if members[1] then redis.call('ZREM', index, unpack(members)) end
  end
end
local ends = expires
if ARGV[5] ~= '0' then
  version, ends = ARGV[1] .. '+', math.min(expires, now + ARGV[5])
end
redis.call('HSET', key, 'v', version, 'created', stamp, 'accessed', stamp, 'expires', ends, 'status', 'active',
  unpack(ARGV, 7, math.min(#ARGV, 2006)))
for i = 2007, #ARGV, 2000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 1999, #ARGV))) end
if version ~= ARGV[1] then
  if inc ~= '' then redis.call('HSET', key, 'inc', inc) end
  if ARGV[5] ~= '0' then redis.call('HSET', key, 'idle', ARGV[5], 'end', expires) end
end
if stale then
  local kept, gone = {v = 1, created = 1, accessed = 1, expires = 1, status = 1}, {}
  kept.inc, kept.idle, kept['end'] = inc ~= '', ARGV[5] ~= '0', ARGV[5] ~= '0'
  for i = 7, #ARGV, 2 do kept[ARGV[i]] = 1 end
  for _, field in ipairs(stale) do
    if not kept[field] then gone[#gone + 1] = field end
  end
  for i = 1, #gone, 2000 do redis.call('HDEL', key, unpack(gone, i, math.min(i + 1999, #gone))) end
end
local set = redis.pcall('PEXPIREAT', key, math.ceil(ends / 1000))
if type(set) == 'table' then
  redis.call('UNLINK', key)
  if index then redis.call('ZREM', index, member) end
  return set
end
return 0
""".replace("CHOOSE", CHOOSE).replace("FILED", FILED)
)

UPDATE = Script(
    WRITE
    + """
if not found then return 0 end
if ARGV[2] == '0' and #ARGV < 2000 and not stays then
  redis.call('HSET', key, 'accessed', touched, unpack(ARGV, 3))
  return 1
end
local items, kept, gone = {}, {}, {}
for i = 3, #ARGV do items[#items + 1] = ARGV[i] end
if ARGV[2] == '1' then
  for i = 3, #ARGV, 2 do kept[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'm:' and not kept[field] then gone[#gone + 1] = field end
  end
end
touch(items)
write('HDEL', gone)
return 1
"""
)

# HINCRBY is what may be refused, so it comes first. Its result is read as text: a number of Lua has 53 bits.
INCREMENT = Script(
    WRITE
    + """
if not found then return 0 end
local sum = redis.pcall('HINCRBY', key, ARGV[2], ARGV[3])
if type(sum) == 'table' then
  if string.find(sum.err, 'not an integer', 1, true) then return -2 end
  if string.find(sum.err, 'overflow', 1, true) then return -3 end
  return sum
end
touch({})
return {redis.call('HGET', key, ARGV[2])}
"""
)

# KEYS: the session and the index of its tag. If its user's index is elsewhere, that must have been moved first: ARGV[3]
# is the deadline from which it was. Without it, or if that has changed, nothing happens; the reply says what to do.
EXTEND = Script(
    WRITE
    + FILING
    + """
if not found then return 0 end
local ends = last or old[3]
local expires = ends + ARGV[2]
if inc and ends ~= ARGV[3] then return {member_of(key, KEYS[2], old[6], old[4], inc), ends} end
if stays then stays = math.max(tonumber(old[3]), math.min(expires, now + idle)) end
redis.call('PEXPIREAT', key, math.ceil((stays or expires) / 1000))
if old[6] and not inc then file(KEYS[2], member_of(key, KEYS[2], old[6], old[4]), now, expires) end
touch({stays and 'end' or 'expires', expires})
return 1
"""
)

# Ends a session: how many keys that removed, and what to take out of its user's index if that is elsewhere.
ENDING = """
local function ending(key, index, version)
  local old, inc = redis.pcall('HMGET', key, 'v', 'user', 'created'), false
  if old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then return old end
  if old[1] ~= version and not old.err then
    local more = redis.call('HMGET', key, 'inc', 'alias')
    if more[2] and not old[1] then return {'>', more[2]} end
    inc = more[1]
  end
  local removed = redis.call('UNLINK', key)
  if removed == 0 or not old[2] or not old[3] or (old[1] ~= version and old[1] ~= version .. '+') then
    return removed
  end
  local member = #old[2] .. ':' .. old[2] .. (inc or old[3] .. '.') .. ':' .. string.sub(key, #index + 5)
  if inc then return removed, member end
  redis.call('ZREM', index, member)
  return removed
end
"""

# KEYS: the session and the index of its tag.
DELETE = Script(
    ENDING
    + """
local removed, member = ending(KEYS[1], KEYS[2], ARGV[1])
return member and {member} or removed
"""
)

# KEYS: the session, its new key, the index in their slot, and where it would be noted that the new incarnation was
# ended before it began. ARGV: version, how long the old id stays an alias, in microseconds; and if the index of its
# user is elsewhere, the incarnation and deadline that were seen, and the incarnation that was filed there since.
RENEW = Script(
    WRITE
    + FILING
    + """
if not found then return 0 end
local former, new, index, grace, ends = key, KEYS[2], KEYS[3], tonumber(ARGV[2]), last or old[3]
if inc then
  if inc ~= ARGV[3] or ends ~= ARGV[4] then return {member_of(key, index, old[6], old[4], inc), ends} end
  if redis.call('EXISTS', KEYS[4]) == 1 then return 0 end
end
redis.call('RENAME', former, new)
key = new
touch({})
if inc then
  redis.call('HSET', new, 'inc', ARGV[5])
elseif old[6] then
  file(index, member_of(new, index, old[6], old[4]), now, tonumber(ends))
  redis.call('ZREM', index, member_of(former, index, old[6], old[4]))
end
if grace > 0 then
  redis.call('HSET', former, 'alias', string.sub(new, #index + 5))
  redis.call('PEXPIREAT', former, math.ceil(math.min(tonumber(ends), now + grace) / 1000))
end
return 1
"""
)

# KEYS: an alias. ARGV: what it must stand for to be removed.
DROP = Script("return redis.call('HGET', KEYS[1], 'alias') == ARGV[1] and redis.call('UNLINK', KEYS[1]) or 0")

# KEYS: the session, and where it is noted that this incarnation has ended, so that a create under way cannot begin it.
# ARGV: incarnation, milliseconds that the note is kept. Whether it was there.
KILL = Script("""
local inc = redis.pcall('HGET', KEYS[1], 'inc')
if inc == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
return 0
""")

# KEYS: the session. Touches it if it is there: its user, else what CREATE says.
VISIT = Script(
    WRITE
    + """
if not found then return 0 end
touch({})
return {old[6]}
"""
)
