-- Adds the index entry member to index, or moves its score. Needs now and expires, both in microseconds.
--
-- An entry is added before its session is written, and removed after its session is gone. One in eight additions
-- removes some expired entries, which is enough to keep the index small. The index lives an eighth longer than it needs
-- to, so that not every new entry moves its deadline.

  local final = math.ceil(expires / 1000)
  local added = redis.call('ZADD', index, final, member)
  if redis.call('PTTL', index) < final - now / 1000 then
    redis.call('PEXPIREAT', index, final + math.floor((expires - now) / 8000))
  end
  if added == 1 and now % 8 == 0 then
    -- include: expire_members

  end
