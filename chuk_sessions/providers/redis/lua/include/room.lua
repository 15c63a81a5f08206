-- Ends the user's oldest sessions if there is no room for one more, and adds the index entry member.
--
-- It needs key (the session that the entry is for), index, member, mine, now and expires; ARGV[4] is how many sessions the
-- user may have, 0 for any number; KEYS[3..] may be ended. It ends the script with {0, excess, entries...} if a session
-- that must be ended is not among KEYS, or more must be ended than one script may.

  local victims, members = nil, nil
  if ARGV[4] ~= '0' then
    -- include: choose_victims

  end
  -- include: file_member

  if victims then
    if victims[1] then redis.call('UNLINK', unpack(victims)) end
    if members[1] then redis.call('ZREM', index, unpack(members)) end
  end
