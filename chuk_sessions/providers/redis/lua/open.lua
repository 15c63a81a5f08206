-- Touches each session as touch.lua does, and gives its record; a session of another user is neither touched nor given.
-- Each record is read once, and the reply has the times that were written. While the script reads large records, the
-- server serves no other client. So after a certain size it leaves out the rest of the keys. One plain session alone, of
-- anybody and to be touched always, is the usual case and comes first, with as few calls as can be.
--
-- KEYS[1..]  sessions, any number
-- ARGV[1]    touch interval in microseconds, as in touch.lua; without arguments each session of anybody is written
-- ARGV[2..]  for each key: '' for a session of anybody, or '=' and the user whose session it must be
-- Reply      for each key: the fields of the record, each followed by its value, and with an interval 'now' followed by
--            the time in microseconds; 0 if there is no live session of that user; -1 if this version cannot read the
--            record; -10 if the key was left out and must be asked for again; the fields of an alias; or an error.
--            A list, but in the usual case the fields come without it: that costs the server less

local clock, first = redis.call('TIME'), nil
local seconds, rest = clock[1], clock[2]
local now = seconds * 1000000 + rest
local text = #rest == 6 and seconds .. rest or string.format('%s%06d', seconds, rest)
if not (KEYS[2] or ARGV[1]) then
  first = redis.pcall('HGETALL', KEYS[1])
  local at, written, ends = 0, nil, nil
  for j = 1, #first, 2 do
    local name = first[j]
    if name == 'v' then written = first[j + 1]
    elseif name == 'accessed' then at = j + 1
    elseif name == 'expires' then ends = first[j + 1] end
  end
  if written == '$VERSION' then
    local accessed, expires = tonumber(first[at]), tonumber(ends)
    if accessed and expires and now > accessed and expires > now
      and redis.pcall('HSET', KEYS[1], 'accessed', text) == 0 then
      first[at] = text
      return first
    end
  end
end
-- include: says
local interval, found, weight = tonumber(ARGV[1] or 0), {}, 0
for i = 1, #KEYS do
  local key, owner = KEYS[i], ARGV[i + 1] or ''
  local record = first or weight > $MOST and {err = ''} or redis.pcall('HGETALL', key)
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
  if (written == '$VERSION' or written == '$VERSION+') and accessed and expires then
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
