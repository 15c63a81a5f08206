-- Writes a copy of a session under a new id, in the slot of the index of the user who gets the session. The copy lives
-- only shortly, and is in no index, until bind_settle.lua gives it the deadlines of the session. Until then its idle
-- timeout is one microsecond, which marks it. Touches do not keep the copy. If it is given another deadline meanwhile,
-- that is in its field end.
--
-- KEYS[1]    the new key
-- ARGV[1]    how long the copy lives, in microseconds
-- ARGV[2..]  fields and values of the record, without accessed and expires; end is the deadline of the session
-- Reply      1

local key, clock = KEYS[1], redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
for i = 2, #ARGV, 2000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 1999, #ARGV))) end
redis.call('HSET', key, 'accessed', string.format('%.0f', now), 'expires', string.format('%.0f', now + ARGV[1]))
redis.call('PEXPIREAT', key, math.ceil((now + ARGV[1]) / 1000))
return 1
