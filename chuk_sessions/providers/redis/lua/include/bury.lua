-- Defines created_here(), which gives the creation time of the session in KEYS[1], or 0, and bury(clock, created,
-- left), which leaves a tombstone for left milliseconds.
--
-- KEYS[1] is the session, KEYS[2] the index in its slot, KEYS[3] the tombstone. The tombstone must keep the session out
-- even if the clock of the application that created it is ahead of the server's. So its time is no earlier than the
-- creation of either copy.

local function created_here()
  local created = redis.pcall('HGET', KEYS[1], 'created')
  return type(created) == 'string' and #created <= 17 and tonumber(created) or 0
end
local function bury(clock, created, left)
  local before = tonumber(redis.call('GET', KEYS[3]) or nil) or 0
  -- Ending sessions must work on a full server. Redis checks memory only before a script's first write, and a full
  -- server accepts PEXPIREAT, also of a key that does not exist. So PEXPIREAT comes before SET.
  redis.call('PEXPIREAT', KEYS[3], (clock[1] + 60) * 1000)
  redis.call('SET', KEYS[3], math.max(clock[1] * 1000000 + clock[2], created, before), 'PX', left)
end
