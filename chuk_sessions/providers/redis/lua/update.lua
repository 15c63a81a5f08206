-- Merges metadata into a live session, perhaps with fields to remove, or replaces its metadata; touches the session.
--
-- KEYS[1]    session
-- ARGV[1]    record version
-- ARGV[2]    '1' to replace all metadata, '0' to merge, '2' to merge and to remove fields
-- ARGV[3..]  with '2', how many fields to remove, and these fields; then fields and values
-- Reply      1 if the session was updated; 0 if there is no live session; -1 if this version cannot read the record;
--            {'>', name} if the key is an alias
--
-- include: write

if not found then return 0 end
if ARGV[2] == '0' and #ARGV < 2000 and not stays then
  redis.call('HSET', key, 'accessed', touched, unpack(ARGV, 3))
  return 1
end
local items, kept, gone, first = {}, {}, {}, 3
if ARGV[2] == '2' then
  first = 4 + ARGV[3]
  for i = 4, first - 1 do gone[i - 3] = ARGV[i] end
end
for i = first, #ARGV do items[#items + 1] = ARGV[i] end
if ARGV[2] == '1' then
  for i = 3, #ARGV, 2 do kept[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'm:' and not kept[field] then gone[#gone + 1] = field end
  end
end
touch(items)
write('HDEL', gone)
return 1
