-- Reads a legacy session, and whether a session of ours has its id. One script reads both, so that a session which
-- another process is moving is seen in one place or the other.
--
-- KEYS[1]    our session
-- KEYS[2]    legacy key
-- ARGV       none
-- Reply      {text of the legacy key or false, 1 if our session exists, else 0}

local text = redis.pcall('GET', KEYS[2])
if type(text) == 'table' and string.find(text.err, 'WRONGTYPE ', 1, true) then text = false end
if type(text) == 'table' then return text end
return {text, redis.call('EXISTS', KEYS[1])}
