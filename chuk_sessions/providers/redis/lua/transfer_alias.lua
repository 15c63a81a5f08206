-- Writes an alias of another place, if its key is free.
--
-- KEYS[1]    alias
-- ARGV[1]    the name of the current id
-- ARGV[2]    how long the alias lives, in milliseconds
-- Reply      1 if the alias was written, 0 if the key exists

local clock = redis.call('TIME')
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'alias', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], math.floor(clock[1] * 1000 + clock[2] / 1000 + ARGV[2]))
return 1
