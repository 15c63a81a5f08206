-- Moves the deadline of an index entry later, never nearer; adds the entry if it is missing.
--
-- KEYS[1]    index
-- ARGV[1]    index entry
-- ARGV[2]    the deadline that its session is about to have, in microseconds
-- Reply      1
--
-- include: filing

local clock = redis.call('TIME')
local now, score = clock[1] * 1000000 + clock[2], redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) < ARGV[2] / 1000 then file(KEYS[1], ARGV[1], now, tonumber(ARGV[2])) end
return 1
