-- Deletes our session and leaves a tombstone, if the legacy key is in another slot. From then on no process takes the
-- legacy copy over; the caller removes it next.
--
-- KEYS[1]    our session
-- KEYS[2]    the index in its slot
-- KEYS[3]    its tombstone
-- ARGV[1]    record version
-- ARGV[2]    creation time of the legacy session in microseconds; '' if there is no legacy session of our sandbox
-- ARGV[3]    PTTL of the legacy key
-- ARGV[4]    how long the tombstone outlives both copies, in milliseconds
-- Reply      1 if this ended our session, or a legacy session that had not been ended before, else 0; {incarnation,
--            user} if our session was removed and its user's index, from which the caller must remove that entry, is
--            in another slot; {'>', name} if our key is an alias
--
-- include: ending
-- include: bury

local clock, ended = redis.call('TIME'), tonumber(redis.call('GET', KEYS[3]) or nil)
local left = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3]), 0)
local made, created = created_here(), tonumber(ARGV[2])
local removed, elsewhere = ending(KEYS[1], KEYS[2], ARGV[1])
if type(removed) == 'table' then return removed end
if removed > 0 or created then bury(clock, math.max(made, created or 0), left + ARGV[4]) end
if elsewhere then return elsewhere end
return (removed > 0 or (created and not (ended and created <= ended))) and 1 or 0
