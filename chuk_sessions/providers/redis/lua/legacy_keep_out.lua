-- Leaves a tombstone for a session that is about to end or to get a new id. It keeps out the copy that a legacy process
-- may write back. If there is no session of ours, the script leaves no tombstone: a legacy session, which may be
-- another sandbox's, must stay movable, and made-up ids must not fill the server.
--
-- KEYS[1]    our session
-- KEYS[2]    the index in its slot, not used
-- KEYS[3]    its tombstone
-- ARGV[1]    how long the tombstone outlives the session, in milliseconds
-- Reply      1 if there is a tombstone now, 0 if there is no session of ours
--
-- include: bury

local created = created_here()
if created == 0 then return 0 end
bury(redis.call('TIME'), created, math.max(redis.call('PTTL', KEYS[1]), 0) + ARGV[1])
return 1
