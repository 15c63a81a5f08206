-- Defines member_of(key, index, head, created), which gives the index entry of a session.

local function member_of(key, index, head, created)
-- include: member
  return member
end
