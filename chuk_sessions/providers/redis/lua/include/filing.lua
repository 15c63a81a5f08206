-- Defines member_of, and file(index, member, now, expires), which adds an index entry or moves its score.
--
-- include: member_of
local function file(index, member, now, expires)
-- include: file_member
end
