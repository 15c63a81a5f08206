-- Adds the index entry of a session that is about to be created in another slot.
--
-- KEYS[1]    index
-- ARGV[1]    user
-- ARGV[2]    random digits
-- ARGV[3]    key of the session, which is in another slot: here it is only text
-- ARGV[4]    lifetime in microseconds
-- ARGV[5]    how many sessions the user may have; 0 for any number
-- Reply      the incarnation that was added; {0, entries...} if there is no room: the sessions to end, oldest first
--
-- include: filing
-- include: live_of

local clock, limit = redis.call('TIME'), tonumber(ARGV[5])
local now = clock[1] * 1000000 + clock[2]
local live = limit > 0 and live_of(KEYS[1], #ARGV[1] .. ':' .. ARGV[1], now) or {}
if limit > 0 and #live >= limit then
  return {0, unpack(live, 1, math.min(#live - limit + 1, $MAX_VICTIMS))}
end
local inc = string.format('%.0f', now) .. '.' .. ARGV[2]
file(KEYS[1], member_of(ARGV[3], KEYS[1], ARGV[1], nil, inc), now, now + ARGV[4])
return inc
