-- Removes a legacy session that was copied to our key in another slot, and leaves a marker of this.
--
-- KEYS[1]    legacy key
-- KEYS[2]    marker
-- ARGV[1]    the text that was read
-- ARGV[2]    creation time of that session
-- ARGV[3]    how long the marker lives, in milliseconds
-- Reply      1 if the session was removed; -1 if the key holds another text, 0 if it is gone; -2 and 2 for the same if
--            the marker says that this session was removed before

local text = redis.pcall('GET', KEYS[1])
if text == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  redis.call('UNLINK', KEYS[1])
  return 1
end
local taken = redis.call('GET', KEYS[2]) == ARGV[2]
if text then return taken and -2 or -1 end
return taken and 2 or 0
