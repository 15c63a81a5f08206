-- Deletes a session and its legacy copy in one step, and leaves a tombstone.
--
-- KEYS[1]    our session
-- KEYS[2]    the index in its slot
-- KEYS[3]    its tombstone
-- KEYS[4]    legacy key
-- ARGV[1]    the text that the legacy key must hold; '' if it must not exist
-- ARGV[2]    creation time of the legacy session in microseconds, if it is of our sandbox and must end too; else ''
-- ARGV[3]    how long the tombstone outlives both copies, in milliseconds
-- ARGV[4]    record version
-- Reply      how many keys were removed; -1 if the legacy key holds another text: nothing was changed; {incarnation,
--            user} if a session was removed and its user's index, from which the caller must remove that entry, is in
--            another slot; {'>', name} if our key is an alias
--
-- include: ending
-- include: bury

local clock, text = redis.call('TIME'), redis.pcall('GET', KEYS[4])
if type(text) == 'table' and string.find(text.err, 'WRONGTYPE ', 1, true) then text = false end
if type(text) == 'table' then return text end
if (text or '') ~= ARGV[1] then return -1 end
local made, created, left = created_here(), tonumber(ARGV[2]), redis.call('PTTL', KEYS[1])
local removed, elsewhere = ending(KEYS[1], KEYS[2], ARGV[4])
if type(removed) == 'table' then return removed end
if text and created then
  left = math.max(left, redis.call('PTTL', KEYS[4]))
  removed = removed + redis.call('UNLINK', KEYS[4])
end
if removed > 0 then bury(clock, math.max(made, created or 0), math.max(left, 0) + ARGV[3]) end
return elsewhere or removed
