-- Removes a legacy session if it has not changed since it was read.
--
-- KEYS[1]    legacy key
-- ARGV[1]    the text that was read
-- Reply      1 if the session was removed, 0 if the key holds another text, -1 if it is gone

local text = redis.pcall('GET', KEYS[1])
if not text then return -1 end
return text == ARGV[1] and redis.call('UNLINK', KEYS[1]) or 0
