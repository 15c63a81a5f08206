-- Part of look.lua, and of scripts that read the record by themselves: judges the record in KEYS[1].
--
-- It needs key, version, now, and old as look.lua has it, of which it uses v, accessed, expires and created. It defines
-- found, inc, idle and last, and may end the script, as look.lua says.

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
  if not (accessed and expires and created) or #accessed > 17 or #expires > 18 or #created > 17
    or string.find(accessed .. expires .. created, '%D') then return -1 end
  found = tonumber(expires) > now
elseif old[1] then
  return -1
elseif redis.call('EXISTS', key) == 1 then
  local alias = redis.call('HGET', key, 'alias')
  return alias and {'>', alias} or -1
end
