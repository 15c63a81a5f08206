-- Ends the user's oldest sessions if there is no room for one more, and adds the index entry member.
--
-- It needs key (the session that the entry is for), index, member, mine, now, expires and doomed, which is nil. ARGV[4]
-- is how many sessions the user may have, 0 for any number, with a minus if sessions may be condemned (see condemn.lua);
-- KEYS[3..] may be ended. It ends the script with
--   {0, excess, n, entries...}  if a session that must be ended is not among KEYS and none may be condemned, or more must
--                               be ended than one script may: how many must, and entries of the user, of which the first
--                               n are of condemned sessions, the others of live ones, oldest first
--   {0, -1}                     if there may be no room, and there are too many entries to look at
-- It sets doomed to the entries that it condemned; to nil or false if there are none.

  local victims, members = nil, nil
  if ARGV[4] ~= '0' then
    local room, may_condemn = math.abs(ARGV[4]), tonumber(ARGV[4]) < 0
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
