-- Part of write.lua, and of scripts that read the record by themselves: prepares to write it.
--
-- It needs what look.lua defines, of old the first three values, and defines what write.lua says.

-- It writes in slices, as a Lua call takes fewer than 8,000 arguments.
local function write(command, items)
  for i = 1, #items, 2000 do
    redis.call(command, key, unpack(items, i, math.min(i + 1999, #items)))
  end
end
local touched = found and (tonumber(old[2]) > now and old[2] or string.format('%s%06d', clock[1], clock[2]))
local stays = found and idle and tonumber(last or nil)
stays = stays and math.max(tonumber(old[3]), math.min(stays, now + idle))
local function touch(items)
  items[#items + 1], items[#items + 2] = 'accessed', touched
  if stays then items[#items + 1], items[#items + 2] = 'expires', stays end
  write('HSET', items)
  if stays then redis.call('PEXPIREAT', key, math.ceil(stays / 1000)) end
end
