-- Removes an alias.
--
-- KEYS[1]    alias
-- ARGV[1]    the name that it must stand for to be removed
-- Reply      1 if it was removed, else 0
return redis.call('HGET', KEYS[1], 'alias') == ARGV[1] and redis.call('UNLINK', KEYS[1]) or 0
