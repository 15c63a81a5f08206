-- Part of touch.lua and open.lua: writes the time of last access of the session in key, and the deadline stays if it
-- is not nil.
--
-- It needs key, text (the time now in microseconds), stays, found and i. It sets done, which is a table if nothing was
-- written. An error that the reply must have is then in found[i].

      -- On OOM or MISCONF, skip the touch so that the session survives. With an idle timeout a skipped touch would end
      -- it, so PEXPIREAT comes first: a full server accepts it, and every write after it.
      if stays then
        done = redis.pcall('PEXPIREAT', key, math.ceil(stays / 1000))
        if type(done) ~= 'table' then done = redis.pcall('HSET', key, 'accessed', text, 'expires', stays) end
      else
        done = redis.pcall('HSET', key, 'accessed', text)
      end
      if type(done) == 'table' then
        -- If the server is no master, or is a master cut off from its replicas, or its cluster is down, that is the
        -- error of the whole reply: the client acts on it.
        if says(done, 'READONLY') or says(done, 'NOREPLICAS') then return done end
        if string.find(done.err, 'the cluster is down', 1, true) then return done end
        if not says(done, 'OOM') and not says(done, 'MISCONF') then found[i] = done end
      end
