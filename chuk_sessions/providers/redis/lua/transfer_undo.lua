-- Removes a session that transfer_adopt.lua created here, as if it had never come.
--
-- KEYS[1]    our session
-- KEYS[2]    the index in its slot
-- KEYS[3]    the marker that came with it, if there is one
-- ARGV[1]    creation time of the session
-- ARGV[2]    record version
-- ARGV[3..]  to remove only a session that has not changed since: all its fields and values except creation time,
--            deadline, head and incarnation; else nothing
-- Reply      1 if the session and the marker were removed, else 0; {incarnation, user} if they were removed and the
--            user's index, from which the caller must remove that entry, is in another slot
--
-- include: ending

local flat, fields = redis.pcall('HGETALL', KEYS[1]), {}
if flat.err then
  if string.find(flat.err, 'WRONGTYPE ', 1, true) then return 0 end
  return flat
end
for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
if fields['created'] ~= ARGV[1] then return 0 end
if fields['inc'] then fields['v'] = ARGV[2] end
if #ARGV > 2 then
  if #flat / 2 ~= 2 + ((fields['inc'] or fields['head']) and 1 or 0) + (#ARGV - 2) / 2 then return 0 end
  for i = 3, #ARGV, 2 do
    if fields[ARGV[i]] ~= ARGV[i + 1] then return 0 end
  end
end
local removed, elsewhere = ending(KEYS[1], KEYS[2], ARGV[2])
if KEYS[3] then redis.call('UNLINK', KEYS[3]) end
return elsewhere or removed
