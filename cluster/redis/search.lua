-- Returns the sequence of the first entry of a stream that was stored at a time (in Unix microseconds) or later, or nil. The times
-- never go back in a stream, so the place is found by halves.
local function first_at(stream, want)
  local function entry(from)
    local e = redis.call('XRANGE', stream, string.format('%.0f', from), '+', 'COUNT', 1)[1]
    if not e then return nil end
    local seq, at = string.match(e[1], '^(%d+)%-(%d+)$')
    return tonumber(seq), tonumber(string.sub(at, 1, -4)) or 0 -- without the random digits
  end
  local low, at = entry(0)
  if not low then return nil end
  if at >= want then return low end
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local high = tonumber(string.match(newest[1], '^%d+')) + 1
  local found = nil -- the entry at low is too old; found, if there is one, is at high or the first one after it
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    local seq, at = entry(middle)
    if not seq or seq >= high then
      high = middle
    elseif at >= want then
      high, found = middle, seq
    else
      low = seq
    end
  end
  return found
end
