-- Gives a live session a new id, also in its user's index, and touches it. The old id may stay an alias for a while.
-- If the user's index is in another slot, the caller must add the new incarnation there first.
--
-- KEYS[1]    session
-- KEYS[2]    its new key
-- KEYS[3]    the index in their slot
-- KEYS[4]    the marker that cancels the new incarnation
-- ARGV[1]    record version
-- ARGV[2]    how long the old id stays an alias, in microseconds
-- ARGV[3]    the incarnation that the caller saw; '' if the caller has not looked yet, as are the next two
-- ARGV[4]    the deadline that the caller saw
-- ARGV[5]    the incarnation that the caller has added to the index since
-- ARGV[6]    '' for a session of anybody, or '=' and the user whose session it must be
-- ARGV[7]    the form of the index entry under the new key
-- ARGV[8..]  fields and values of the metadata to merge
-- Reply      1 if the session was renewed; 0 if there is no live session, or it is condemned; -1 if this version cannot
--            read the record; -4 if the new incarnation was cancelled: the caller must add another; -6 if the session
--            is not that user's; -9 if it is a copy that bind_settle.lua must settle first; {'>', name} if the key is
--            an alias; {incarnation, user, deadline, time} if the session has that entry in an index in another slot,
--            which must get a new entry with that deadline first: nothing was changed; the time is the server's, in
--            microseconds
--
-- include: write
-- include: filing

if not found then return 0 end
if ARGV[6] ~= '' and not (old[6] and ARGV[6] == '=' .. old[6]) then return -6 end
if idle == $UNSETTLED then return -9 end
-- The new entry gets a later deadline than the old entry. A client that reads the index by pages, in the order of the
-- deadlines, then finds one of the two.
local head, entry = old[5], nil
if head then entry = member_of(key, KEYS[3], head, old[4]) end
local filed = entry and redis.call('ZSCORE', KEYS[3], entry) or 0
if tonumber(filed) < 0 then return 0 end
local former, new, index, grace, ends = key, KEYS[2], KEYS[3], tonumber(ARGV[2]), last or old[3]
if inc then
  if inc ~= ARGV[3] or ends ~= ARGV[4] then
    return {inc, old[6], ends, string.format('%s%06d', clock[1], clock[2])}
  end
  if redis.call('EXISTS', KEYS[4]) == 1 then return -4 end
end
redis.call('RENAME', former, new)
key = new
local items = {unpack(ARGV, 8, math.min(#ARGV, 2007))}
if head then
  head = string.sub(head, 1, 8) .. ARGV[7]
  if head ~= old[5] then items[#items + 1], items[#items + 2] = 'head', head end
end
touch(items)
for i = 2008, #ARGV, 2000 do redis.call('HSET', key, unpack(ARGV, i, math.min(i + 1999, #ARGV))) end
if inc then
  redis.call('HSET', new, 'inc', ARGV[5])
elseif head then
  file(index, member_of(new, index, head, old[4]), now, math.max(tonumber(ends), filed * 1000 + 1000))
  redis.call('ZREM', index, entry)
end
if grace > 0 then
  redis.call('HSET', former, 'alias', string.sub(new, #index + 5))
  redis.call('PEXPIREAT', former, math.ceil((now + grace) / 1000))
end
return 1
