-- Writes values of a session anew, each only if it is still what was read. The session is not touched, and no deadline
-- moves.
--
-- KEYS[1]    session
-- ARGV[1..]  fields, each followed by the value that was read and by the new value
-- Reply      how many values were written
--

local key, written = KEYS[1], 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', key, ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', key, ARGV[i], ARGV[i + 2])
    written = written + 1
  end
end
return written
