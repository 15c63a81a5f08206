-- Adds the index entry of a session that is about to be created in another slot.
--
-- KEYS[1]    index
-- ARGV[1]    what the user's entries begin with: the mark and the form
-- ARGV[2]    random digits
-- ARGV[3]    the id of the session, as it stands in the key
-- ARGV[4]    lifetime in microseconds
-- ARGV[5]    how many sessions the user may have; 0 for any number; negative if sessions may be condemned
-- Reply      {incarnation, entries...}: the incarnation that was added, and the condemned sessions, which the caller
--            must end; {0, excess, n, entries...} or {0, -1} if there is no room, as in include/room.lua
--
-- include: live_of
-- include: condemned_of

local clock, room, index, doomed = redis.call('TIME'), math.abs(ARGV[5]), KEYS[1], {}
local now, mine = clock[1] * 1000000 + clock[2], string.sub(ARGV[1], 1, 8)
local count = room > 0 and redis.call('ZCOUNT', index, string.format('(%.0f', math.floor(now / 1000)), '+inf') or -1
if count >= room then
  if count > $MAX_LOOK then return {0, -1} end
  local live = live_of(index, mine, now)
  local excess = #live - room + 1
  if excess > $MAX_VICTIMS or (excess > 0 and tonumber(ARGV[5]) > 0) then
    local left = condemned_of(index, mine, now)
    local reply = {0, excess, #left, unpack(left)}
    for i = 1, math.min(#live, $MAX_VICTIMS) do reply[#reply + 1] = live[i] end
    return reply
  end
  for i = 1, excess do doomed[i] = live[i] end
end
local member, expires = ARGV[1] .. struct.pack('>I8', now) .. ARGV[2] .. ':' .. ARGV[3], now + ARGV[4]
do
-- include: file_member

end
-- include: condemn

return {string.format('%s%06d', clock[1], clock[2]) .. '.' .. ARGV[2], unpack(doomed)}
