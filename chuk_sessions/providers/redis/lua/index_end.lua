-- Ends sessions in the slot of their user's index, and removes their entries.
-- A session that was allocated anew under the same id is another session and stays.
--
-- KEYS[1]    index
-- KEYS[2..]  sessions
-- ARGV[1..]  the index entry of each session
-- Reply      how many sessions were ended

local ended = 0
for i = 2, #KEYS do
  local member, old = ARGV[i - 1], redis.pcall('HMGET', KEYS[i], 'created', 'alias')
  local stamp = old[1] and old[1] .. '.:' .. string.sub(KEYS[i], #KEYS[1] + 5)
  if not old[2] and (not stamp or string.sub(member, -#stamp) == stamp) then
    ended = ended + redis.call('UNLINK', KEYS[i])
  end
end
if ARGV[1] then redis.call('ZREM', KEYS[1], unpack(ARGV)) end
return ended
