-- Moves the deadline of an index entry nearer, unless another client has moved it since the caller did.
--
-- KEYS[1]    index
-- ARGV[1]    index entry
-- ARGV[2]    the deadline that the caller's index_move.lua gave the entry, in milliseconds
-- ARGV[3]    the new deadline, in microseconds
-- Reply      1 if the deadline was moved, else 0

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], math.ceil(ARGV[3] / 1000), ARGV[1])
return 1
