-- Returns the sequence of the first entry that was stored at a time or later, '' if there is none. It begins with search.lua.
--
-- KEYS: the stream
-- ARGV: the time in Unix microseconds
local seq = first_at(KEYS[1], tonumber(ARGV[1]))
return seq and string.format('%.0f', seq) or ''
