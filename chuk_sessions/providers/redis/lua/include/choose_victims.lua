-- Part of room.lua, for a user who already has as many sessions as allowed. It fills victims with the keys of the
-- sessions to end, members with the index entries to remove, and doomed with the entries of sessions to condemn, if
-- there are any.
--
-- mine is the prefix of the user's entries. If the key of an entry does not exist or has another creation time, its
-- session ended because it was not touched. Only the entry is removed then.
--
-- include: live_of
-- include: condemned_of

local function name_in(text) return string.match(text, '[^:]*$') end
local gone, live, missing, declared, base = {}, {}, {}, {}, string.sub(key, 1, #index + 4)
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
local excess, left = #live - room + 1, condemned_of(index, mine, now)
for i = 1, math.min(excess, $MAX_VICTIMS) do
  local name = name_in(live[i])
  if declared[base .. name] and string.sub(live[i], -#name - 2, -#name - 1) == '.:' then
    members[#members + 1], victims[#victims + 1] = live[i], base .. name
  else
    missing[#missing + 1] = live[i]
  end
end
if excess > $MAX_VICTIMS or (missing[1] and not may_condemn) then
  -- The reply has all live sessions, not only those to end. If other clients change the user's sessions first, the next
  -- attempt still has most of the sessions that it must end among its KEYS.
  local reply = {0, math.max(excess, 0), #left, unpack(left)}
  for i = 1, math.min(#live, $MAX_VICTIMS) do reply[#reply + 1] = live[i] end
  return reply
end
doomed = missing[1] and missing
for i = 1, #left do
  local name = name_in(left[i])
  if declared[base .. name] and string.sub(left[i], -#name - 2, -#name - 1) == '.:' then
    members[#members + 1], victims[#victims + 1] = left[i], base .. name
  end
end
for i = 1, #gone do members[#members + 1] = gone[i] end
