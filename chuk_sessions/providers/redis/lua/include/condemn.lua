-- Condemns the sessions whose entries in index are in doomed.
--
-- A session that must be ended to make room is condemned if its key is not among the KEYS of the script: the score of
-- its entry becomes its negative deadline. A condemned session does not count, is not listed and cannot be renewed. The
-- caller ends it at once. If the caller dies first, the next login that must make room ends it, and so does a call that
-- ends all sessions of the user.

      for i = 1, #doomed do
        redis.call('ZADD', index, -redis.call('ZSCORE', index, doomed[i]), doomed[i])
      end
