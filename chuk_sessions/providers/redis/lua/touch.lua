-- Touches each session: writes the time of last access and, with an idle timeout, the new deadline.
-- It runs for every request, so it reads only the fields that it needs: version, time of last access and deadline.
--
-- KEYS[1..]  sessions, any number
-- ARGV[1]    record version
-- ARGV[2]    touch interval in microseconds: a session that was touched more recently is not written, unless it would
--            end before its idle timeout has passed from now. A deadline that is written is later by the interval, but
--            by no more than half of the idle timeout
-- Reply      for each key: the time now in microseconds if the session is live; 0 if it does not exist or has expired;
--            -1 if this version cannot read the record; the name of the new id if the key is an alias; or an error.
--            A list, but of one key a number comes without it: that costs the server much less

-- include: says
local version, interval, clock = ARGV[1], tonumber(ARGV[2]), redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local text = #clock[2] == 6 and clock[1] .. clock[2] or string.format('%s%06d', clock[1], clock[2])
local found = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires')
  local accessed, expires = tonumber(old[2] or nil), tonumber(old[3] or nil)
  local plain = old[1] == version
  if (plain or old[1] == version .. '+') and accessed and expires then
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
