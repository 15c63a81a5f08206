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
  if not old[2] and (not old[1] or tonumber(old[1]) == (struct.unpack('>I8', member, 10))) then
    ended = ended + redis.call('UNLINK', KEYS[i])
  end
end
if ARGV[1] then redis.call('ZREM', KEYS[1], unpack(ARGV)) end
return ended
