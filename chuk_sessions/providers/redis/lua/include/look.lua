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
-- include: looked
