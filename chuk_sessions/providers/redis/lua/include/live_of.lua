-- Defines live_of(index, mine, now), which gives the entries of a user's live sessions, oldest first.
--
-- mine is the prefix of that user's entries.

local function live_of(index, mine, now)
  local found, after = {}, '(' .. string.format('%.0f', math.floor(now / 1000))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, after, '+inf')) do
    if string.sub(member, 1, #mine) == mine then found[#found + 1] = member end
  end
  local function born(member) return tonumber(string.match(member, '^%d+', #mine + 1)) end
  table.sort(found, function(a, b) return born(a) < born(b) end)
  return found
end
