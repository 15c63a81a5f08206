-- Leaves a tombstone for a session that is about to end or to get a new id. It keeps out the copy that a process of a
-- legacy version may write back.
--
-- KEYS[1]    our session
-- KEYS[2]    the index in its slot, not used
-- KEYS[3]    its tombstone
-- ARGV[1]    how long the tombstone outlives the session, in milliseconds
-- Reply      1
--
-- include: bury

bury(redis.call('TIME'), created_here(), math.max(redis.call('PTTL', KEYS[1]), 0) + ARGV[1])
return 1
