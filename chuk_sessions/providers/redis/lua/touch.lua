-- Touches each session: writes the time of last access and, with an idle timeout, the new deadline.
-- It runs for every request, so it reads only the fields that it needs: version, time of last access and deadline. One
-- plain session alone, to be touched always, is the usual case and comes first, with as few calls as can be.
--
-- KEYS[1..]  sessions, any number
-- ARGV[1]    touch interval in microseconds: a session that was touched more recently is not written, unless it would
--            end before its idle timeout has passed from now. A deadline that is written is later by the interval, but
--            by no more than half of the idle timeout. Without the argument each session is written
-- Reply      for each key: the time now in microseconds if the session is live; 0 if it does not exist or has expired;
--            -1 if this version cannot read the record; the name of the new id if the key is an alias; or an error.
--            A list, but of one key a number comes without it: that costs the server much less

local clock, first = redis.call('TIME'), nil
local seconds, rest = clock[1], clock[2]
local now = seconds * 1000000 + rest
local text = #rest == 6 and seconds .. rest or string.format('%s%06d', seconds, rest)
if not (KEYS[2] or ARGV[1]) then
  first = redis.pcall('HMGET', KEYS[1], 'v', 'accessed', 'expires')
  if first[1] == '$VERSION' then
    local accessed, expires = tonumber(first[2] or nil), tonumber(first[3] or nil)
    if accessed and expires and now > accessed and expires > now
      and redis.pcall('HSET', KEYS[1], 'accessed', text) == 0 then return now end
  end
end
-- include: says
local interval, found = tonumber(ARGV[1] or 0), {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local old = first or redis.pcall('HMGET', key, 'v', 'accessed', 'expires')
  local accessed, expires = tonumber(old[2] or nil), tonumber(old[3] or nil)
  local plain = old[1] == '$VERSION'
  if (plain or old[1] == '$VERSION+') and accessed and expires then
    found[i] = expires > now and now or 0
    local due, done, stays = now - accessed >= interval, nil, nil
    if expires > now and not plain then
      local more = redis.call('HMGET', key, 'idle', 'end')
      local idle, last = tonumber(more[1] or nil), tonumber(more[2] or nil)
-- include: staying
    end
    if due and expires > now and now > accessed then
-- include: touch_one
    end
  elseif old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then
    if says(old, 'MASTERDOWN') then return old end
    found[i] = old
  elseif old.err or old[1] or redis.call('EXISTS', key) == 1 then
    found[i] = not old.err and not old[1] and redis.call('HGET', key, 'alias') or -1
  else
    found[i] = 0
  end
end
if #KEYS == 1 and type(found[1]) == 'number' then return found[1] end
return found
