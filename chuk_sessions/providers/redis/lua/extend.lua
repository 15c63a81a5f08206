-- Moves the deadline of a live session later, also in its user's index, and touches the session.
-- If the user's index is in another slot, the caller must move the deadline there first.
--
-- KEYS[1]    session
-- KEYS[2]    the index in the slot of the session
-- ARGV[1]    record version
-- ARGV[2]    microseconds to add
-- ARGV[3]    the deadline from which the caller moved the entry in the other slot; '' if it has not moved it
-- Reply      1 if the session was extended; 0 if there is no live session; -1 if this version cannot read the record;
--            -5 if the deadline would be too late; {'>', name} if the key is an alias; {incarnation, user,
--            deadline} if that entry of an index in another slot must be moved first, from that deadline: nothing was
--            changed
--
-- include: write
-- include: filing

if not found then return 0 end
local ends = last or old[3]
local expires = ends + ARGV[2]
if expires > $LAST_DEADLINE then return -5 end
if inc and ends ~= ARGV[3] then return {inc, old[6], ends} end
if stays then stays = math.max(tonumber(old[3]), math.min(expires, now + idle)) end
redis.call('PEXPIREAT', key, math.ceil((stays or expires) / 1000))
if old[5] and idle ~= $UNSETTLED then file(KEYS[2], member_of(key, KEYS[2], old[5], old[4]), now, expires) end
touch({stays and 'end' or 'expires', string.format('%.0f', expires)})
return 1
