-- Removes index entries whose deadline has passed, a bounded number of them. Needs index, and now in microseconds.
--
-- The score of a condemned session's entry is its negative deadline, see condemn.lua.

    local over = math.floor(now / 1000)
    local expired = redis.call('ZRANGEBYSCORE', index, -over, over, 'LIMIT', 0, 200)
    if expired[1] then redis.call('ZREM', index, unpack(expired)) end
