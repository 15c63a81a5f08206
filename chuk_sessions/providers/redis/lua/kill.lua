-- Ends one incarnation of a session. If it does not exist, another process may still be creating it: then the script
-- writes a marker, and the pending create sees the marker and stops.
--
-- KEYS[1]    session
-- KEYS[2]    marker of this incarnation
-- ARGV[1]    incarnation
-- ARGV[2]    how long the marker lives, in milliseconds
-- Reply      1 if the session existed, else 0

local inc = redis.pcall('HGET', KEYS[1], 'inc')
if inc == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
return 0
