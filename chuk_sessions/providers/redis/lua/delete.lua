-- Deletes a session, and its entry in the user's index if that is in the same slot.
--
-- KEYS[1]    session
-- KEYS[2]    the index in the slot of the session
-- ARGV[1]    record version
-- Reply      how many keys were removed; {incarnation, user} if the session was removed and its user's index, from
--            which the caller must remove that entry, is in another slot; {'>', name} if the key is an alias
--
-- include: ending

local removed, elsewhere = ending(KEYS[1], KEYS[2], ARGV[1])
return elsewhere or removed
