-- Defines condemned_of(index, mine, now), which gives some entries of a user's condemned sessions, see condemn.lua.

local function condemned_of(index, mine, now)
  local found, before = {}, string.format('(-%.0f', math.floor(now / 1000))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', before, 'LIMIT', 0, 10)) do
    if string.sub(member, 1, #mine) == mine then found[#found + 1] = member end
  end
  return found
end
