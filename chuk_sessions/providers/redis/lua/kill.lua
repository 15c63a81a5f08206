-- Ends one incarnation of a session. If it does not exist, another process may still be creating it: then the script
-- writes a marker, and the pending create sees the marker and stops.
--
-- KEYS[1]    session
-- KEYS[2]    marker of this incarnation
-- ARGV[1]    incarnation
-- ARGV[2]    how long the marker lives, in milliseconds
-- ARGV[3]    '1' to leave an existing session alone, because the caller took it for a missing one
-- Reply      1 if the session was ended, 0 if it did not exist, -1 if it was left alone

local inc = redis.pcall('HGET', KEYS[1], 'inc')
if inc == ARGV[1] then
  if ARGV[3] == '1' then return -1 end
  return redis.call('UNLINK', KEYS[1])
end
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
return 0
