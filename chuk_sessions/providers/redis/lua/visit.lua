-- Touches a session if it exists.
--
-- KEYS[1]    session
-- ARGV[1]    record version
-- Reply      {user, creation time, incarnation} if the session is live; 0 if not; -1 if this version cannot read the
--            record; {'>', name} if the key is an alias
--
-- include: write

if not found then return 0 end
touch({})
return {old[6], old[4], inc}
