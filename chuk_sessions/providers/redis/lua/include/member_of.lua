-- Defines member_of(key, index, user, created, inc), which gives the index entry of a session.
--
-- An incarnation inc replaces the creation time. The name of the session is found by its position in the key, as a
-- pattern would cost as much as a command. The part before the name is four characters longer than the key of an index
-- of that sandbox: session:{tag}:box: and user:{tag}:box.

local function member_of(key, index, user, created, inc)
  return #user .. ':' .. user .. (inc or created .. '.') .. ':' .. string.sub(key, #index + 5)
end
