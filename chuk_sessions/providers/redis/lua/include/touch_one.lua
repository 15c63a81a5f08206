-- Part of touch.lua and open.lua: writes the time of last access of the session in key, and with an idle timeout the new
-- deadline.
--
-- It needs key, now (microseconds), text (the same as text), plain (whether the record is of version 1), expires,
-- found and i. It defines done, which is a table if nothing was written, and stays, the new deadline of an idle timeout.

      local done, stays = nil, nil
      if not plain then
        local more = redis.call('HMGET', key, 'idle', 'end')
        local idle, last = tonumber(more[1] or nil), tonumber(more[2] or nil)
        stays = idle and last and math.max(expires, math.min(last, now + idle))
      end
      -- On OOM or MISCONF, skip the touch so that the session survives. With an idle timeout a skipped touch would end
      -- it, so PEXPIREAT comes first: a full server accepts it, and every write after it.
      if stays then
        done = redis.pcall('PEXPIREAT', key, math.ceil(stays / 1000))
        if type(done) ~= 'table' then done = redis.pcall('HSET', key, 'accessed', text, 'expires', stays) end
      else
        done = redis.pcall('HSET', key, 'accessed', text)
      end
      if type(done) == 'table' then
        -- That the server is no master, or one cut off, is the error of the whole reply, as the client acts on it.
        if says(done, 'READONLY') or says(done, 'NOREPLICAS') then return done end
        if not says(done, 'OOM') and not says(done, 'MISCONF') then found[i] = done end
      end
