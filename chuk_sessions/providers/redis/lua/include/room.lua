-- Ends the user's oldest sessions if there is no room for one more, and adds the index entry member.
--
-- It needs key (the session that the entry is for), index, member, now, expires and doomed, which is nil. ARGV[3]
-- begins with the mark of the user. ARGV[4] is how many sessions the user may have, 0 for any number, negative if
-- sessions may be condemned (see condemn.lua); KEYS[3..] are sessions that may be ended. It ends the script with
--   {0, excess, n, entries...}  if a session that must be ended is not among KEYS and none may be condemned, or if one
--                               script may not end so many: excess is how many must end. Of the user's entries, the
--                               first n are of condemned sessions, the others of live sessions, oldest first
--   {0, -1}                     if there may be no room, and the index has too many entries to read
-- It sets doomed to the entries of the sessions that it condemned; to nil or false if there are none.

  local victims, members = nil, nil
  if ARGV[4] ~= '0' then
    local room, may_condemn, mine = math.abs(ARGV[4]), tonumber(ARGV[4]) < 0, string.sub(ARGV[3], 1, 8)
    local count = redis.call('ZCOUNT', index, string.format('(%.0f', math.floor(now / 1000)), '+inf')
    if count >= room then
      if count > $MAX_LOOK then return {0, -1} end
      -- include: choose_victims

    end
  end
  -- include: file_member

  if victims then
    if doomed then
      -- include: condemn

    end
    if victims[1] then redis.call('UNLINK', unpack(victims)) end
    if members[1] then redis.call('ZREM', index, unpack(members)) end
  end
