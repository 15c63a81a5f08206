-- Removes a legacy session that was put under our key in another slot, and leaves a marker that says so.
--
-- KEYS[1]    legacy key
-- KEYS[2]    marker
-- ARGV[1]    the text that was read
-- ARGV[2]    when that session was created
-- ARGV[3]    how long the marker lives, in milliseconds
-- Reply      1 if the session was removed. Else what the key is now: -1 another text, 0 gone; or, if the marker says
--            that the same session was taken before, -2 another text, 2 gone

local text = redis.pcall('GET', KEYS[1])
if text == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  redis.call('UNLINK', KEYS[1])
  return 1
end
local taken = redis.call('GET', KEYS[2]) == ARGV[2]
if text then return taken and -2 or -1 end
return taken and 2 or 0
