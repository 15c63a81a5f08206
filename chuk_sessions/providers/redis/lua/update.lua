-- Merges metadata into a live session, perhaps with fields to remove, or replaces its metadata; touches the session.
-- To merge into a plain session is the usual case and comes first, with as few calls as can be.
--
-- KEYS[1]    session
-- ARGV[1]    record version
-- ARGV[2]    '1' to replace all metadata, '0' to merge, '2' to merge and to remove fields
-- ARGV[3..]  with '2', how many fields to remove, and these fields; then fields and values
-- Reply      1 if the session was updated; 0 if there is no live session; -1 if this version cannot read the record;
--            {'>', name} if the key is an alias

local key, version, clock = KEYS[1], ARGV[1], redis.call('TIME')
local seconds, rest = clock[1], clock[2]
local now = seconds * 1000000 + rest
local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires', 'created')
if old[1] == version and ARGV[2] == '0' and #ARGV < 2000 then
  local accessed, expires, created = old[2] or '', old[3] or '', old[4] or ''
  -- What is not as long as a time is for the general case, which looks closer: Lua takes '4e15' for a number too.
  if #accessed == 16 and #expires == 16 and #created == 16 and now > (tonumber(accessed) or now)
    and (tonumber(expires) or 0) > now and tonumber(created) then
    local text = #rest == 6 and seconds .. rest or string.format('%s%06d', seconds, rest)
    redis.call('HSET', key, 'accessed', text, unpack(ARGV, 3))
    return 1
  end
end
-- include: looked
-- include: writing

if not found then return 0 end
if ARGV[2] == '0' and #ARGV < 2000 and not stays then
  redis.call('HSET', key, 'accessed', touched, unpack(ARGV, 3))
  return 1
end
local items, kept, gone, first = {}, {}, {}, 3
if ARGV[2] == '2' then
  first = 4 + ARGV[3]
  for i = 4, first - 1 do gone[i - 3] = ARGV[i] end
end
for i = first, #ARGV do items[#items + 1] = ARGV[i] end
if ARGV[2] == '1' then
  for i = 3, #ARGV, 2 do kept[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'm:' and not kept[field] then gone[#gone + 1] = field end
  end
end
touch(items)
write('HDEL', gone)
return 1
