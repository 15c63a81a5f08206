-- Condemns the sessions whose entries in index are in doomed.
--
-- A session that must be ended to make room, and whose key the script was not given, is condemned: its entry gets its
-- deadline with a minus. It counts for nobody then, is not listed and cannot be renewed, and the caller ends it at once.
-- Should the caller die first, the next login that must make room ends it, and so does whoever ends all sessions of the
-- user.

      for i = 1, #doomed do
        redis.call('ZADD', index, -redis.call('ZSCORE', index, doomed[i]), doomed[i])
      end
