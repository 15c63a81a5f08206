-- Part of touch.lua and open.lua, for a session with an idle timeout: sets due if its deadline must be moved now, and
-- sets stays to the deadline to write.
--
-- It needs idle and last (nil without an idle timeout), expires, now and interval, all in microseconds.

      if idle and last then
        due = due or expires < math.min(last, now + idle)
        stays = math.max(expires, math.min(last, now + idle + math.min(interval, math.floor(idle / 2))))
      end
