-- Removes a session at the source if it has not changed since it was read.
-- If the session itself came here by a migration, the marker of that is removed too: the session may come back one day.
--
-- KEYS[1]    session, a hash, or a legacy key, a text
-- KEYS[2]    the marker, for a session of our layout
-- ARGV[1..]  the value that was read: fields and values of a hash, or a text as the only argument
-- Reply      1 if the session was removed, 0 if the key holds another value, -1 if it is gone

local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then return -1 end
if #ARGV == 1 then
  if redis.pcall('GET', key) ~= ARGV[1] then return 0 end
else
  if redis.pcall('HLEN', key) ~= #ARGV / 2 then return 0 end
  for i = 1, #ARGV, 2 do
    if redis.call('HGET', key, ARGV[i]) ~= ARGV[i + 1] then return 0 end
  end
end
redis.call('UNLINK', unpack(KEYS))
return 1
