-- Reads the record in KEYS[1] as look.lua does, and prepares to write it.
--
-- It defines
--   touched              the time of last access to write, as text; it never runs backwards
--   stays                with an idle timeout: the deadline to write; else false or nil
--   write(command, ...)  runs a command on the session with any number of arguments
--   touch(items)         writes these fields and values, the time of last access and, with an idle timeout, stays

-- include: look
-- include: writing
