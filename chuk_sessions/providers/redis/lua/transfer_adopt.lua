-- Takes over a session of another place: creates it here, or merges it with the session that is here.
-- It lives until the earliest of three moments: the end of the given lifetime, of the legacy key's TTL, and its own
-- deadline. A session without any of the three is not taken over.
--
-- KEYS[1]    our session
-- KEYS[2]    the index in its slot
-- KEYS[3]    its tombstone
-- KEYS[4]    its tombstone in the sandbox that it comes from
-- KEYS[5]    with ARGV[2], the legacy key, which is removed in the same step; else the marker to leave, if one is
--            needed
-- ARGV[1]    record version
-- ARGV[2]    the text that the legacy key must hold; '' if there is no legacy key
-- ARGV[3]    lifetime in microseconds, or 0
-- ARGV[4]    the session's own deadline, or 0
-- ARGV[5]    field head; '' without a user
-- ARGV[6]    user
-- ARGV[7]    created
-- ARGV[8]    accessed
-- ARGV[9]    status
-- ARGV[10]   the incarnation that was added to an index in another slot, or ''
-- ARGV[11..] fields and values
-- Reply      a value of Adoption: 1 created, 2 merged, 0 expired or ended here since its creation, -1 the record here
--            cannot be read, -2 the session here is another user's, -3 the legacy key holds another text; -4 if the
--            session here is another incarnation than was added to the index; {'>', name} if our key is an alias
--
-- include: write
-- include: filing

local left, ends, created, accessed = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[7], ARGV[8]
local published, note = ARGV[2] ~= '' and KEYS[5], ARGV[2] == '' and KEYS[5]
if left == 0 then left = math.huge end
if published then
  local text = redis.pcall('GET', published)
  if text ~= ARGV[2] then return -3 end
  local pttl = redis.call('PTTL', published)
  if pttl >= 0 then left = math.min(left, pttl * 1000) end
end
if ends > 0 then left = math.min(left, ends - now) end
if left <= 0 or left == math.huge then return 0 end
left = math.min(left, 9e16)
-- A tombstone keeps out a session that was ended here since its creation.
for i = 3, 4 do
  local ended = tonumber(redis.call('GET', KEYS[i]) or nil)
  if ended and tonumber(created) <= ended then
    if published then redis.call('UNLINK', published) end
    return 0
  end
end
local noted, here = note and redis.call('GET', note) or '', created .. ' ' .. (found and old[4] or created)
-- A marker without the session that came means that the session was ended here since.
local came = string.find(noted, created .. ' ', 1, true) == 1
if came and not (found and noted == here) then return 0 end
local user, filed = ARGV[5] ~= '' and ARGV[6], ARGV[10]
local expires, items, result, stale = now + left, {}, 1, {}
if found then
  if (old[6] or false) ~= user then return -2 end
  if (inc or '') ~= filed then return -4 end
  created = old[4]
  -- A common field gets the value of the side that was touched last; if both were touched at the same time, the value
  -- that comes.
  local newer = tonumber(accessed) >= tonumber(old[2])
  if newer then items[1], items[2] = 'accessed', accessed end
  for i = 11, #ARGV, 2 do
    if newer or not redis.call('HMGET', key, ARGV[i])[1] then
      items[#items + 1], items[#items + 2] = ARGV[i], ARGV[i + 1]
    end
  end
  expires, result = math.max(expires, tonumber(last or old[3])), 2
else
  if old[1] then stale = redis.call('HKEYS', key) end
  items = {'v', filed ~= '' and version .. '+' or version, 'created', created, 'accessed', accessed}
  if ARGV[9] ~= 'active' then items[7], items[8] = 'status', ARGV[9] end
  if user then items[#items + 1], items[#items + 2] = 'user', user end
  if filed ~= '' then
    items[#items + 1], items[#items + 2] = 'inc', filed
  elseif user then
    items[#items + 1], items[#items + 2] = 'head', ARGV[5]
  end
  for i = 11, #ARGV do items[#items + 1] = ARGV[i] end
end
local member = user and filed == '' and member_of(key, KEYS[2], ARGV[5], created)
if member then file(KEYS[2], member, now, expires) end
local final = expires
if stays then
  items[#items + 1], items[#items + 2] = 'end', string.format('%.0f', expires)
  expires = math.max(tonumber(old[3]), math.min(expires, now + idle))
end
items[#items + 1], items[#items + 2] = 'expires', string.format('%.0f', expires)
write('HSET', items)
-- As in create.lua: removes the fields of an expired record that the new record lacks.
local kept, gone = {}, {}
for i = 1, #items, 2 do kept[items[i]] = true end
for _, field in ipairs(stale) do
  if not kept[field] then gone[#gone + 1] = field end
end
write('HDEL', gone)
local set = redis.pcall('PEXPIREAT', key, math.ceil(expires / 1000))
if type(set) == 'table' then
  if not found then
    redis.call('UNLINK', key)
    if member then redis.call('ZREM', KEYS[2], member) end
  end
  return set
end
if published then redis.call('UNLINK', published) end
if note then redis.call('SET', note, here, 'PXAT', math.ceil(final / 1000)) end
return result
