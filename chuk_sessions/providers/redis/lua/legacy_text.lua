-- Reads a legacy session by itself. If its key is in another slot than our session, this script and legacy_end.lua are
-- the two steps that replace legacy_delete.lua.
--
-- KEYS[1]    legacy key
-- ARGV       none
-- Reply      {text or false, PTTL of the key}

local text = redis.pcall('GET', KEYS[1])
if type(text) == 'table' and string.find(text.err, 'WRONGTYPE ', 1, true) then text = false end
if type(text) == 'table' then return text end
return {text, redis.call('PTTL', KEYS[1])}
