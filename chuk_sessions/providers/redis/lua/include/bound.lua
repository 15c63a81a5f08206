-- Gives the session that look.lua found to the user, under its new id, and ends the script with a reply of bind.lua.
--
-- It needs KEYS and ARGV[1..5] of bind.lua, and from: the fields and values to write are ARGV[from..].

local former, index, head, created, expires = key, KEYS[3], ARGV[3], old[4], tonumber(last or old[3])
local items, doomed = {'user', ARGV[2], 'head', head}, nil
key = KEYS[2]
do
-- include: member
-- include: room
end
redis.call('RENAME', former, key)
for i = from, #ARGV do items[#items + 1] = ARGV[i] end
touch(items)
if tonumber(ARGV[5]) > 0 then
  redis.call('HSET', former, 'alias', string.sub(key, #index + 5))
  redis.call('PEXPIREAT', former, math.ceil((now + ARGV[5]) / 1000))
end
return doomed and {-11, 1, unpack(doomed)} or 1
