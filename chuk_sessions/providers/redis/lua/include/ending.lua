-- Defines ending(key, index, version), which deletes a session.
--
-- It returns how many keys were removed. If the user's index is in another slot, it also returns {incarnation, user} of
-- the entry to remove there. It returns {'>', name} if the key is an alias, and passes on an error of the server other
-- than WRONGTYPE.

local function ending(key, index, version)
  local old, elsewhere = redis.pcall('HMGET', key, 'v', 'head', 'created'), false
  if old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then return old end
  if old[1] ~= version and not old.err then
    local more = redis.call('HMGET', key, 'inc', 'user', 'alias')
    if more[3] and not old[1] then return {'>', more[3]} end
    elsewhere = old[1] == version .. '+' and more[1] and more[2] and {more[1], more[2]}
  end
  local removed, head, created = redis.call('UNLINK', key), old[2], tonumber(old[3] or nil)
  if removed == 0 or elsewhere then return removed, removed == 1 and elsewhere end
  if head and created and (old[1] == version or old[1] == version .. '+') then
-- include: member
    redis.call('ZREM', index, member)
  end
  return removed
end
