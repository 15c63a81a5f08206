-- Lists the live sessions of a user.
--
-- KEYS[1]    index
-- ARGV[1]    prefix of the user's index entries
-- Reply      {time in microseconds, {entries, oldest first}}
--
-- include: live_of

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local live = live_of(KEYS[1], ARGV[1], now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', math.floor(now / 1000))
return {string.format('%.0f', now), live}
