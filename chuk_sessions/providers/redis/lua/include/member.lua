-- Sets member to the index entry of the session in key, which is in the slot of index.
--
-- It needs head and created, as the record has them. The name of the session is found by its position in the key, as a
-- pattern would cost as much as a command. The part before the name is four characters longer than the key of an index
-- of that sandbox: session:{tag}:box: and user:{tag}:box.

  local form, member = string.sub(head, 9), nil
  if form == '-' then
    member = head .. struct.pack('>I8I5', created, tonumber(string.sub(key, -49, -40)) or 0)
      .. string.sub(key, #index + 10, -50) .. string.sub(key, -38, -7)
  elseif form == '.' then
    member = head .. struct.pack('>I8', created) .. string.sub(key, #index + 10, -7)
  else
    member = head .. struct.pack('>I8', created) .. string.sub(key, #index + 5)
  end
