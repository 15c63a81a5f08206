-- Part of touch.lua and open.lua: writes the time of last access of the session in key, and the deadline stays if it
-- is not nil.
--
-- It needs key, text (the time now in microseconds), stays, found and i. It sets done, which is a table if nothing was
-- written; an error that the caller of the script must hear is in found[i] then.

      -- On OOM or MISCONF, skip the touch so that the session survives. With an idle timeout a skipped touch would end
      -- it, so PEXPIREAT comes first: a full server accepts it, and every write after it.
      if stays then
        done = redis.pcall('PEXPIREAT', key, math.ceil(stays / 1000))
        if type(done) ~= 'table' then done = redis.pcall('HSET', key, 'accessed', text, 'expires', stays) end
      else
        done = redis.pcall('HSET', key, 'accessed', text)
      end
      if type(done) == 'table' then
        -- That the server is no master, or one cut off, is the error of the whole reply, as the client acts on it. So is
        -- that its cluster is down.
        if says(done, 'READONLY') or says(done, 'NOREPLICAS') then return done end
        if string.find(done.err, 'the cluster is down', 1, true) then return done end
        if not says(done, 'OOM') and not says(done, 'MISCONF') then found[i] = done end
      end
