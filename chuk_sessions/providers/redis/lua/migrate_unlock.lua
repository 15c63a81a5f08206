-- Releases the lock of a migration, if this run still holds it.
--
-- KEYS[1]    lock
-- ARGV[1]    token of this run
-- Reply      1 if this run held the lock, else 0
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
