-- Part of room.lua, for a user who already has as many sessions as allowed. It fills victims with the keys of the
-- sessions to end, members with the index entries to remove, and doomed with the entries of sessions to condemn, if
-- there are any.
--
-- mine is the mark of the user. If the key of an entry does not exist or has another creation time, its session ended
-- because it was not touched. Only the entry is removed then.
--
-- include: live_of
-- include: condemned_of

local gone, live, missing, declared, base = {}, {}, {}, {}, string.sub(key, 1, #index + 4)
local function declared_of(entry)
  local form, name = string.sub(entry, 9, 9), nil
  if form == '-' then
    local second = string.format('%010.0f-', (struct.unpack('>I5', entry, 18)))
    name = 'sess-' .. string.sub(entry, 23, -33) .. second .. string.sub(entry, -32) .. string.sub(index, 7, 12)
  elseif form == '.' then
    name = 'sess-' .. string.sub(entry, 18) .. string.sub(index, 7, 12)
  else
    name = string.sub(entry, 18)
  end
  return form ~= '+' and declared[base .. name]
end
victims, members = {}, {}
for i = 3, #KEYS do declared[KEYS[i]] = KEYS[i] end
for _, each in ipairs(live_of(index, mine, now)) do
  local other, has_ended = declared_of(each), false
  local born = other and redis.pcall('HGET', other, 'created')
  if other and type(born) ~= 'table' then
    has_ended = not born or tonumber(born) ~= (struct.unpack('>I8', each, 10))
  end
  table.insert(has_ended and gone or live, each)
end
local excess, left = #live - room + 1, condemned_of(index, mine, now)
for i = 1, math.min(excess, $MAX_VICTIMS) do
  local other = declared_of(live[i])
  if other then
    members[#members + 1], victims[#victims + 1] = live[i], other
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
  local other = declared_of(left[i])
  if other then members[#members + 1], victims[#victims + 1] = left[i], other end
end
for i = 1, #gone do members[#members + 1] = gone[i] end
