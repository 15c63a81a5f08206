-- Adds to an integer in the metadata of a live session, and touches the session.
--
-- KEYS[1]    session
-- ARGV[1]    record version
-- ARGV[2]    field
-- ARGV[3]    amount
-- Reply      {sum as text}; 0 if there is no live session; -1 if this version cannot read the record; -2 if the field
--            is not an integer; -3 if the sum is too large; {'>', name} if the key is an alias
--
-- include: write

if not found then return 0 end
-- HINCRBY comes first: it is the write that the server may refuse.
local sum = redis.pcall('HINCRBY', key, ARGV[2], ARGV[3])
if type(sum) == 'table' then
  if string.find(sum.err, 'not an integer', 1, true) then return -2 end
  if string.find(sum.err, 'overflow', 1, true) then return -3 end
  return sum
end
touch({})
-- The sum is read as text: a number in Lua has only 53 bits.
return {redis.call('HGET', key, ARGV[2])}
