-- Sets member to the index entry of the session in key, which is in the slot of index.
--
-- It needs head and created, as the record has them. The form of the entry is a byte: 45 is '-', 46 is '.'. The parts
-- of the name are found by their position in the key, as a pattern would cost as much as a command. The part before the
-- name is four characters longer than the key of an index of that sandbox: session:{tag}:box: and user:{tag}:box.

  local sub, form, member = string.sub, string.byte(head, 9), nil
  if form == 45 then
    member = head .. struct.pack('>I8I5', created, tonumber(sub(key, -49, -40)) or 0)
      .. sub(key, #index + 10, -50) .. sub(key, -38, -7)
  elseif form == 46 then
    member = head .. struct.pack('>I8', created) .. sub(key, #index + 10, -7)
  else
    member = head .. struct.pack('>I8', created) .. sub(key, #index + 5)
  end
