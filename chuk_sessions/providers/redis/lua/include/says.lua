-- Defines says(reply, code), which tells whether an error reply has that code.
--
-- Redis 6.2 puts the position in the script before the code of an error.
local function says(reply, code)
  return string.find(reply.err, '^' .. code) or string.find(reply.err, ': -' .. code, 1, true)
end
