-- Gives a session of nobody to a user as bind.lua does, unless its sealed values were changed since they were read. They
-- are bound to the slot tag of the old id, so the caller has sealed them anew for that of the new id.
--
-- KEYS[1]    session
-- KEYS[2]    its new key
-- KEYS[3]    the user's index
-- KEYS[4..]  sessions that may be ended to make room
-- ARGV[1]    record version
-- ARGV[2]    user
-- ARGV[3]    field head of the session under its new key
-- ARGV[4]    how many sessions the user may have; 0 for any number; negative if sessions may be condemned
-- ARGV[5]    how long the old id stays an alias, in microseconds
-- ARGV[6]    how many sealed values were read
-- ARGV[7..]  fields and values that were read; then fields and values to write: those sealed anew, and the metadata to
--            merge
-- Reply      1 if the user has the session; 0 if there is no live session; -1 if this version cannot read the record;
--            -6 if the session is another user's, -7 if it is that user's already; -8 if a sealed value was changed,
--            came or went; {'>', name} if the key is an alias; {0, excess, n, entries...}, {0, -1} and
--            {-11, 1, entries...} as create.lua
--
-- include: write

if not found then return 0 end
if old[6] then return old[6] == ARGV[2] and -7 or -6 end
local from, seen, left = 7 + 2 * ARGV[6], {}, tonumber(ARGV[6])
for i = 7, from - 1, 2 do seen[ARGV[i]] = ARGV[i + 1] end
local record = redis.call('HGETALL', key)
for i = 1, #record, 2 do
  if string.sub(record[i], 1, 2) == 'm:' and string.byte(record[i + 1]) == 1 then
    if seen[record[i]] ~= record[i + 1] then return -8 end
    left = left - 1
  end
end
if left ~= 0 then return -8 end
-- include: bound
