-- Reads some entries of an index, in the order of their deadlines, and gives those of one user's sessions.
--
-- KEYS[1]    index
-- ARGV[1]    the mark of the user
-- ARGV[2]    how many entries to read
-- ARGV[3]    where to begin: the deadline of the entry that was read last, in milliseconds; '' to begin at the first
--            entry
-- ARGV[4]    how many entries with that deadline have been read
-- ARGV[5]    the entry that was read last
-- ARGV[6]    '1' to add some condemned sessions, which are not listed any more, to the first entries; else ''
-- Reply      {time in microseconds, how many entries were read, {entries}}; if there may be more, followed by the next
--            ARGV[3..5]
--
-- include: condemned_of

local size, first, skip, clock = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), redis.call('TIME')
local now, index, mine = clock[1] * 1000000 + clock[2], KEYS[1], ARGV[1]
if first == '' then first = string.format('(%.0f', math.floor(now / 1000)) end
-- If the entry that was read last is not in its old place, entries before it have come or gone. Then all entries with
-- its deadline are read again.
local read, from = {}, 2
if skip > 0 then read = redis.call('ZRANGEBYSCORE', index, first, '+inf', 'LIMIT', skip - 1, size + 1) end
if read[1] ~= ARGV[5] or skip == 0 then
  read, from, skip = redis.call('ZRANGEBYSCORE', index, first, '+inf', 'LIMIT', 0, size), 1, 0
end
local found, seen = {}, #read - from + 1
if ARGV[3] == '' and ARGV[6] == '1' then found = condemned_of(index, mine, now) end
for i = from, #read do
  if string.sub(read[i], 1, #mine) == mine then found[#found + 1] = read[i] end
end
local reply = {string.format('%s%06d', clock[1], clock[2]), seen, found}
if seen == size then
  local last = read[#read]
  local score = redis.call('ZSCORE', index, last)
  reply[4], reply[6] = score, last
  reply[5] = skip + seen - redis.call('ZCOUNT', index, first, '(' .. score)
end
-- The removal comes last, as it may remove the whole index: while the slot moves to another node, a script breaks off
-- at a key that does not exist.
if ARGV[3] == '' then
-- include: expire_members

end
return reply
