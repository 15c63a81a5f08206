-- Moves the deadline of the lock of a migration later, if this run still holds it.
--
-- KEYS[1]    lock
-- ARGV[1]    token of this run
-- ARGV[2]    how long the lock lives from now, in milliseconds
-- Reply      1 if this run holds the lock, else 0
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
