-- Part of create.lua: fills victims with the keys of the sessions to end, and members with the index entries to remove.
--
-- mine is the prefix of the user's entries. A session that ended unseen, because nobody touched it, is known by its
-- key: that does not exist or has another creation time. Only its entry is removed then.
--
-- include: live_of

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
for i = 1, math.min(#live - limit + 1, $MAX_VICTIMS) do
  local name = name_in(live[i])
  members[i], victims[i] = live[i], base .. name
  if not declared[victims[i]] or string.sub(live[i], -#name - 2, -#name - 1) ~= '.:' then missing = true end
end
-- The reply has all live sessions, not only those to end: if other clients change the user's sessions first, the next
-- attempt still has those that it must end among its KEYS.
if missing or #live - limit >= $MAX_VICTIMS then
  return {0, #members, unpack(live, 1, math.min(#live, $MAX_VICTIMS))}
end
for i = 1, #gone do members[#members + 1] = gone[i] end
