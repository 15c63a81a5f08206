-- Creates a session; if a live session has this id, touches that instead. Ends the user's oldest sessions to make room.
--
-- KEYS[1]    session
-- KEYS[2]    with ARGV[3], the user's index; with ARGV[6], the marker that cancels this create
-- KEYS[3..]  sessions that may be ended to make room
-- ARGV[1]    record version
-- ARGV[2]    lifetime in microseconds
-- ARGV[3]    field head; '' without a user, or if the index is in another slot
-- ARGV[4]    how many sessions the user may have; 0 for any number; negative if sessions may be condemned
-- ARGV[5]    idle timeout in microseconds, or 0
-- ARGV[6]    incarnation, if the user's index is in another slot; else ''
-- ARGV[7..]  fields and values: user, metadata
-- Reply      0 if the session was created; {user} if a live session was touched; -1 if this version cannot read the
--            record; -4 if the marker exists: the session was ended before it began; {'>', name} if the key is an
--            alias; {0, excess, n, entries...} or {0, -1} if there is no room, see include/room.lua; {-11, 0,
--            entries...} if the session was created and others were condemned, which the caller must end

local key, stale = KEYS[1], nil
if redis.call('EXISTS', key) == 1 then
-- include: write

  if found then
    touch({})
    return {old[6]}
  end
  stale = redis.call('HKEYS', key)
end
local clock, version, head, inc = redis.call('TIME'), ARGV[1], ARGV[3], ARGV[6]
local now = clock[1] * 1000000 + clock[2]
local created, expires, index, entry, doomed = string.format('%s%06d', clock[1], clock[2]), now + ARGV[2], nil, nil, nil
if inc ~= '' then
  version = ARGV[1] .. '+'
  if redis.call('EXISTS', KEYS[2]) == 1 then return -4 end
elseif head ~= '' then
  index = KEYS[2]
-- include: member
  entry = member
-- include: room
end
local ends = expires
if ARGV[5] ~= '0' then
  version, ends = ARGV[1] .. '+', math.min(expires, now + ARGV[5])
end
-- Redis checks memory only before a script's first write, which is ZADD or this HSET. If that succeeds, the rest do.
if entry then
  redis.call('HSET', key, 'v', version, 'created', created, 'accessed', created, 'expires', ends, 'head', head,
    unpack(ARGV, 7, math.min(#ARGV, 2006)))
else
  redis.call('HSET', key, 'v', version, 'created', created, 'accessed', created, 'expires', ends,
    unpack(ARGV, 7, math.min(#ARGV, 2006)))
end
for i = 2007, #ARGV, 2000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 1999, #ARGV))) end
if version ~= ARGV[1] then
  if inc ~= '' then redis.call('HSET', key, 'inc', inc) end
  if ARGV[5] ~= '0' then redis.call('HSET', key, 'idle', ARGV[5], 'end', expires) end
end
-- Fields of an expired record that the new record lacks are removed after HSET. The whole key must not be removed
-- before HSET: while the slot moves to another node, a script breaks off at a key that does not exist.
if stale then
  local kept, gone = {v = 1, created = 1, accessed = 1, expires = 1}, {}
  kept.head, kept.inc, kept.idle, kept['end'] = entry, inc ~= '', ARGV[5] ~= '0', ARGV[5] ~= '0'
  for i = 7, #ARGV, 2 do kept[ARGV[i]] = 1 end
  for _, field in ipairs(stale) do
    if not kept[field] then gone[#gone + 1] = field end
  end
  for i = 1, #gone, 2000 do redis.call('HDEL', key, unpack(gone, i, math.min(i + 1999, #gone))) end
end
-- PEXPIREAT comes last: if the deadline passed in between, nothing could be written after it. If it fails, nothing may
-- be left without a TTL.
local set = redis.pcall('PEXPIREAT', key, math.ceil(ends / 1000))
if type(set) == 'table' then
  redis.call('UNLINK', key)
  if entry then redis.call('ZREM', index, entry) end
  return set
end
return doomed and {-11, 0, unpack(doomed)} or 0
