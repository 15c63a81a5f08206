-- Reads a legacy session, and whether our key for its id exists. One script reads both, so that it finds a session
-- which another process is moving in one place or the other.
--
-- KEYS[1]    our session
-- KEYS[2]    legacy key
-- ARGV       none
-- Reply      {text of the legacy key or false, 1 if our key exists, else 0}

local text = redis.pcall('GET', KEYS[2])
if type(text) == 'table' and string.find(text.err, 'WRONGTYPE ', 1, true) then text = false end
if type(text) == 'table' then return text end
return {text, redis.call('EXISTS', KEYS[1])}
