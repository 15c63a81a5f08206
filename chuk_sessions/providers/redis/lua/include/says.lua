-- Defines says(reply, code), which tells whether an error reply has that code.
--
-- In Redis 6.2 the position in the script precedes the code of an error.
local function says(reply, code)
  return string.find(reply.err, '^' .. code) or string.find(reply.err, ': -' .. code, 1, true)
end
