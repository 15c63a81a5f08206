-- Puts a copy of a session under a new id, to be given to a user, in the slot of that user's index. It lives shortly until
-- bind_settle.lua gives it the deadlines of the session, and is in no index until then: its idle timeout of one microsecond
-- says so. Touches do not keep it; another deadline that it is given meanwhile is in its field end.
--
-- KEYS[1]    the new key
-- ARGV[1]    how long it lives, in microseconds
-- ARGV[2..]  fields and values of the record, but for the times of last access and expiry; end is when the session ends
-- Reply      1

local key, clock = KEYS[1], redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
for i = 2, #ARGV, 2000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 1999, #ARGV))) end
redis.call('HSET', key, 'accessed', string.format('%.0f', now), 'expires', string.format('%.0f', now + ARGV[1]))
redis.call('PEXPIREAT', key, math.ceil((now + ARGV[1]) / 1000))
return 1
