-- Gives a live session another deadline, later or earlier, also in its user's index, and touches the session.
-- If the user's index is in another slot, the caller must make the entry there live as long as both deadlines.
--
-- KEYS[1]    session
-- KEYS[2]    the index in the slot of the session
-- ARGV[1]    record version
-- ARGV[2]    microseconds from now to the deadline
-- ARGV[3]    the deadline that the caller saw; '' if the caller has not looked yet, as is the next one
-- ARGV[4]    the deadline that the caller has given to the entry in the other slot
-- Reply      1 if the deadline was moved; 0 if there is no live session; -1 if this version cannot read the record; -5
--            if the deadline would be too late; {'>', name} if the key is an alias; {incarnation, user, deadline, new
--            deadline} if the session has that entry in an index in another slot: nothing was changed
--
-- include: write
-- include: filing

if not found then return 0 end
local before = last or old[3]
local ends = string.format('%.0f', now + ARGV[2])
if inc then
  -- If the entry lives as long as the session did until now, an earlier deadline may be set, even if another client has
  -- changed the deadline since.
  if before ~= ARGV[3] and (ARGV[4] == '' or tonumber(ARGV[4]) > tonumber(before)) then
    if tonumber(ends) > $LAST_DEADLINE then return -5 end
    return {inc, old[6], before, ends}
  end
  ends = ARGV[4]
end
local expires = tonumber(ends)
if expires > $LAST_DEADLINE then return -5 end
-- PEXPIREAT with a deadline that has passed removes the key, and a later write would make a key without a deadline. So
-- the key first gets the later of the two deadlines, and the new deadline at the end. A full server accepts the first
-- PEXPIREAT, and every write after it.
local first = math.max(tonumber(old[3]), expires)
redis.call('PEXPIREAT', key, math.ceil(first / 1000))
if old[5] and idle ~= $UNSETTLED then file(KEYS[2], member_of(key, KEYS[2], old[5], old[4]), now, expires) end
local items = {'accessed', touched, 'expires', ends}
if stays then
  stays = math.min(expires, math.max(tonumber(old[3]), now + idle))
  items[4], items[5], items[6] = string.format('%.0f', stays), 'end', ends
end
write('HSET', items)
redis.call('PEXPIREAT', key, math.ceil((stays or expires) / 1000))
return 1
