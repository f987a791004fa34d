-- Removes old entries. One of the callers in each interval does the work, the others return at once. It begins with search.lua.
--
-- KEYS: the stream, its facts
-- ARGV: the largest age in milliseconds, the largest size in bytes, the largest number of entries ('0': no limit), the interval in
--       milliseconds, the most entries to remove
-- Returns how many entries it has removed. Redis removes whole blocks of entries ('~'), so it keeps a little more than the limits say.
local stream, facts = KEYS[1], KEYS[2]
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local trimmed = tonumber(redis.call('HGET', facts, 'trimmed') or 0)
if trimmed <= now and now - trimmed < ARGV[4] * 1000 then return 0 end

local function text(n) return string.format('%.0f', n) end
local age, size, count, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local length, removed = redis.call('XLEN', stream), 0

local keep = length
if count > 0 then keep = math.min(keep, count) end
if size > 0 and length > 0 then
  local bytes = redis.call('MEMORY', 'USAGE', stream)
  if bytes > size then keep = math.min(keep, math.floor(length * size / bytes)) end
end
if keep < length then
  removed = redis.call('XTRIM', stream, 'MAXLEN', '~', text(keep), 'LIMIT', most)
end
if age > 0 and length > 0 and removed < most then
  local want = now - age * 1000
  local seq = first_at(stream, want)
  if seq then
    removed = removed + redis.call('XTRIM', stream, 'MINID', '~', text(seq), 'LIMIT', most - removed)
  else -- all are too old
    removed = removed + redis.call('XTRIM', stream, 'MAXLEN', '~', '0', 'LIMIT', most - removed)
  end
end
redis.pcall('HSET', facts, 'trimmed', text(now)) -- refused while the memory is full
return removed
