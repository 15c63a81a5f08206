-- Touches each session as touch.lua does, and gives its record; a session of another user is neither touched nor given.
-- Each record is read once, and the reply has the times that were written. While the script reads large records, the
-- server serves no other client. So after a certain size it leaves out the rest of the keys.
--
-- KEYS[1..]  sessions, any number
-- ARGV[1]    record version
-- ARGV[2]    touch interval in microseconds, as in touch.lua
-- ARGV[3..]  for each key: '' for a session of anybody, or '=' and the user whose session it must be
-- Reply      for each key: the fields of the record, each followed by its value, and with an interval 'now' followed by
--            the time in microseconds; 0 if there is no live session of that user; -1 if this version cannot read the
--            record; -10 if the key was left out and must be asked for again; the fields of an alias; or an error

-- include: says
local version, interval, clock = ARGV[1], tonumber(ARGV[2]), redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local text = string.format('%s%06d', clock[1], clock[2])
local found, weight = {}, 0
for i = 1, #KEYS do
  local key, owner = KEYS[i], ARGV[i + 2]
  local record = weight > $MOST and {err = ''} or redis.pcall('HGETALL', key)
  local at, at_expires, written, alias, user, idle, last = 0, 0, nil, nil, nil, nil, nil
  for j = 1, #record, 2 do
    local name = record[j]
    weight = weight + $FIELD + #record[j + 1]
    if name == 'v' then written = record[j + 1]
    elseif name == 'accessed' then at = j + 1
    elseif name == 'expires' then at_expires = j + 1
    elseif name == 'user' then user = record[j + 1]
    elseif name == 'idle' then idle = tonumber(record[j + 1])
    elseif name == 'end' then last = tonumber(record[j + 1])
    elseif name == 'alias' then alias = record[j + 1] end
  end
  local accessed, expires = tonumber(record[at]), tonumber(record[at_expires])
  if (written == version or written == version .. '+') and accessed and expires then
    if expires <= now or owner ~= '' and (not user or owner ~= '=' .. user) then
      found[i] = 0
    else
      found[i] = record
      local due, done, stays = now - accessed >= interval, nil, nil
-- include: staying
      if due and now > accessed then
-- include: touch_one
        if type(done) ~= 'table' then
          record[at] = text
          if stays then record[at_expires] = string.format('%.0f', stays) end
        end
      end
      if interval > 0 and found[i] == record then record[#record + 1], record[#record + 2] = 'now', text end
    end
  elseif record.err == '' then
    found[i] = -10
  elseif record.err and string.sub(record.err, 1, 9) ~= 'WRONGTYPE' then
    if says(record, 'MASTERDOWN') then return record end
    found[i] = record
  elseif record.err or #record > 0 then
    found[i] = not written and alias and #record == 2 and record or -1
  else
    found[i] = 0
  end
end
return found
