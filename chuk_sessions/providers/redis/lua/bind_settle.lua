-- Gives a copy that bind_put.lua made the deadline of its session, and an entry in its user's index. Ends the user's
-- oldest sessions to make room.
--
-- KEYS[1]    the new key
-- KEYS[2]    the user's index
-- KEYS[3..]  sessions that may be ended to make room
-- ARGV[1]    record version
-- ARGV[2]    how long the session lives, in microseconds
-- ARGV[3]    prefix of the user's index entries
-- ARGV[4]    how many sessions the user may have; 0 for any number
-- ARGV[5]    idle timeout in microseconds, or 0
-- ARGV[6]    when the copy was to expire, in microseconds: it may have been extended since, under an alias
-- Reply      1 if it was done; 0 if the copy is not there any more; -1 if this version cannot read it; {0, excess,
--            entries...} as create.lua
--
-- include: look

if not found then return 0 end
local index, mine, expires = KEYS[2], ARGV[3], now + ARGV[2] + (old[3] - ARGV[6])
local member, ends = mine .. old[4] .. '.:' .. string.sub(key, #index + 5), expires
do
-- include: room
end
if ARGV[5] ~= '0' then
  ends = math.min(expires, now + ARGV[5])
  redis.call('HSET', key, 'v', version .. '+', 'idle', ARGV[5], 'end', string.format('%.0f', expires))
end
redis.call('HSET', key, 'expires', string.format('%.0f', ends))
redis.call('PEXPIREAT', key, math.ceil(ends / 1000))
return 1
