-- Defines live_of(index, mine, now), which gives the entries of a user's live sessions, oldest first.
--
-- mine is the mark of that user. It reads a bounded number of entries of the index: the caller asks ZCOUNT
-- first whether there are more.

local function live_of(index, mine, now)
  local found, births, after = {}, {}, '(' .. string.format('%.0f', math.floor(now / 1000))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, after, '+inf', 'LIMIT', 0, $MAX_LOOK)) do
    if string.sub(member, 1, #mine) == mine then
      found[#found + 1] = member
      births[member] = struct.unpack('>I8', member, 10)
    end
  end
  table.sort(found, function(a, b) return births[a] < births[b] end)
  return found
end
