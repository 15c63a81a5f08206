-- Removes an alias.
--
-- KEYS[1]    alias
-- ARGV[1]    the name of the current id: another alias is not removed
-- Reply      1 if the alias was removed, else 0
return redis.call('HGET', KEYS[1], 'alias') == ARGV[1] and redis.call('UNLINK', KEYS[1]) or 0
