-- Reads the record in KEYS[1], for a script that changes a session. ARGV[1] must be the record version.
--
-- It defines key, version, clock, now (microseconds), old (v, accessed, expires, created, head, user) and
--   found            whether the record is of this version and has not expired
--   inc, idle, last  of a record of version 1+: incarnation, idle timeout, end of the whole lifetime; else false
--
-- It ends the script with
--   -1            if the key holds another value, which is left alone; the fields of metadata are not checked
--   {'>', name}   if the key is an alias, which a renewed session leaves for a while; name is the current id
--   an error      of the server other than WRONGTYPE (which is -1), such as a missing permission

local key, version, clock = KEYS[1], ARGV[1], redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires', 'created', 'head', 'user')
if old.err then
  if string.sub(old.err, 1, 9) == 'WRONGTYPE' then return -1 end
  return old
end
local found, inc, idle, last = old[1] == version, false, false, false
if not found and old[1] == version .. '+' then
  local more = redis.call('HMGET', key, 'inc', 'idle', 'end')
  found, inc, idle, last = true, more[1], tonumber(more[2] or nil), more[3]
end
if found then
  local accessed, expires, created = old[2], old[3], old[4]
  if not (accessed and expires and created) or #accessed > 17 or #expires > 18 or #created > 17
    or string.find(accessed .. expires .. created, '%D') then return -1 end
  found = tonumber(expires) > now
elseif old[1] then
  return -1
elseif redis.call('EXISTS', key) == 1 then
  local alias = redis.call('HGET', key, 'alias')
  return alias and {'>', alias} or -1
end
