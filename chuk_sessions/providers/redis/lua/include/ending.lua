-- Defines ending(key, index, version), which deletes a session.
--
-- It returns how many keys were removed. If the user's index is in another slot, it also returns the index entry to
-- remove there. It returns {'>', name} if the key is an alias, and passes on an error of the server other than
-- WRONGTYPE.

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
