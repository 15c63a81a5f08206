-- Ends a session that has a copy under a new id in another slot, unless the session was changed since it was copied.
-- The old id may stay an alias for a while.
--
-- KEYS[1]    session
-- ARGV[1]    record version
-- ARGV[2]    how long the old id stays an alias, in microseconds
-- ARGV[3]    the name of the new id
-- ARGV[4..]  fields and values of the record that was copied; a touch does not count as a change
-- Reply      {left} if the session was ended: how many microseconds more it would have lived; 0 if there is no live
--            session; -1 if this version cannot read the record; -8 if it was changed; {'>', name} if the key is an
--            alias
--
-- include: look

if not found then return 0 end
local record, copied = redis.call('HGETALL', key), {}
if #record ~= #ARGV - 3 then return -8 end
for i = 4, #ARGV, 2 do copied[ARGV[i]] = ARGV[i + 1] end
local gone = {}
for i = 1, #record, 2 do
  local name = record[i]
  local moves = name == 'accessed' or idle and name == 'expires'
  if not moves and copied[name] ~= record[i + 1] then return -8 end
  gone[#gone + 1] = name
end
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', key, 'alias', ARGV[3])
  for i = 1, #gone, 2000 do redis.call('HDEL', key, unpack(gone, i, math.min(i + 1999, #gone))) end
  redis.call('PEXPIREAT', key, math.ceil((now + ARGV[2]) / 1000))
else
  redis.call('UNLINK', key)
end
return {string.format('%.0f', tonumber(last or old[3]) - now)}
