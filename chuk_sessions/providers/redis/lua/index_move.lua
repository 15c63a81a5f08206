-- Moves the deadline of an index entry later, never nearer; adds the entry if it is missing.
-- If the deadline is already as late, it moves by a millisecond, so that index_lower.lua can tell that it was moved.
--
-- KEYS[1]    index
-- ARGV[1]    index entry
-- ARGV[2]    the deadline that the session is about to get, in microseconds
-- ARGV[3]    the entry that this one replaces, if there is one: the new entry then gets a later deadline than the old
-- Reply      the deadline that the entry has now, in milliseconds
--
-- include: filing

local clock, ends = redis.call('TIME'), tonumber(ARGV[2])
local now, score = clock[1] * 1000000 + clock[2], redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) >= ends / 1000 then ends = tonumber(score) * 1000 + 1000 end
local former = ARGV[3] and redis.call('ZSCORE', KEYS[1], ARGV[3])
if former then ends = math.max(ends, tonumber(former) * 1000 + 1000) end
file(KEYS[1], ARGV[1], now, ends)
return math.ceil(ends / 1000)
