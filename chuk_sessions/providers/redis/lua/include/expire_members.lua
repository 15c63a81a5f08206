-- Removes index entries whose deadline has passed, a bounded number of them. Needs index, and now in microseconds.
--
-- Those of condemned sessions have their deadline with a minus, see choose_victims.lua.

    local over = math.floor(now / 1000)
    local expired = redis.call('ZRANGEBYSCORE', index, -over, over, 'LIMIT', 0, 200)
    if expired[1] then redis.call('ZREM', index, unpack(expired)) end
