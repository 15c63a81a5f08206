-- Gives a copy that bind_put.lua made the deadlines of its session, and an entry in its user's index. Ends the user's
-- oldest sessions to make room. A copy that is already settled does not change.
--
-- KEYS[1]    the new key
-- KEYS[2]    the user's index
-- KEYS[3..]  sessions that may be ended to make room
-- ARGV[1]    record version
-- ARGV[2]    how long the session lives, in microseconds; '' if the caller does not know: then until the copy's field
--            end
-- ARGV[3]    field head of the session
-- ARGV[4]    how many sessions the user may have; 0 for any number; negative if sessions may be condemned
-- ARGV[5]    idle timeout in microseconds, or 0
-- ARGV[6]    the field end that bind_put.lua wrote: another value was set under an alias since, and holds
-- Reply      1 if the copy is settled; 0 if it does not exist any more; -1 if this version cannot read it; {'>', name}
--            if the key is an alias; {0, excess, n, entries...}, {0, -1} and {-11, 1, entries...} as create.lua
--
-- include: look

if not found then return 0 end
if idle ~= $UNSETTLED then return 1 end
local index, head, created, expires = KEYS[2], ARGV[3], old[4], tonumber(last)
if ARGV[2] ~= '' and last == ARGV[6] then expires = now + ARGV[2] end
local ends, doomed = expires, nil
do
-- include: member
-- include: room
end
if ARGV[5] ~= '0' then
  ends = math.min(expires, now + ARGV[5])
  redis.call('HSET', key, 'idle', ARGV[5], 'end', string.format('%.0f', expires))
else
  redis.call('HSET', key, 'v', version)
  redis.call('HDEL', key, 'idle', 'end')
end
redis.call('HSET', key, 'expires', string.format('%.0f', ends))
redis.call('PEXPIREAT', key, math.ceil(ends / 1000))
return doomed and {-11, 1, unpack(doomed)} or 1
