-- Gives a session of nobody to a user: the session gets a new id with the slot tag of the user's index, an index entry,
-- more metadata, and a touch. The old id may stay an alias for a while. Ends the user's oldest sessions to make room.
--
-- KEYS[1]    session
-- KEYS[2]    its new key
-- KEYS[3]    the user's index
-- KEYS[4..]  sessions that may be ended to make room
-- ARGV[1]    record version
-- ARGV[2]    user
-- ARGV[3]    field head of the session under its new key
-- ARGV[4]    how many sessions the user may have; 0 for any number; negative if sessions may be condemned
-- ARGV[5]    how long the old id stays an alias, in microseconds
-- ARGV[6..]  fields and values of the metadata to merge
-- Reply      1 if the user has the session; 0 if there is no live session; -1 if this version cannot read the record;
--            -6 if the session is another user's, -7 if it is that user's already; {'>', name} if the key is an alias;
--            {0, excess, n, entries...}, {0, -1} and {-11, 1, entries...} as create.lua
--
-- include: write

if not found then return 0 end
if old[6] then return old[6] == ARGV[2] and -7 or -6 end
local from = 6
-- include: bound
