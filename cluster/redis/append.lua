-- Appends messages to the stream of a partition, each under the next sequence.
--
-- KEYS: the stream, its facts, and one key for each message that has an ID
-- ARGV: the largest length ('0': none), the duplicate window in milliseconds, '1' if Redis confirms only what is on disk, when this
--       was sent in microseconds of this server's clock ('0': unknown), then for each message: kind ('m', or 'x' for the beginning of
--       an epoch), the place of its ID in KEYS ('0': none), three random digits, its key, its header, its frame, the sequence that it
--       must get ('0': any), the epoch that it begins
-- Returns for each message: 's' and its sequence, 'd' and the sequence of the message that was stored before with the same ID,
-- or the error that prevented it: CONFLICT, EPOCH, or one of Redis's.
--
-- A run is what one server does from its start, or its promotion, to its end or its next promotion. Its name is the server's run ID,
-- and the replication ID that the server had before it was promoted. An epoch belongs to one run, in which sequences only grow. So an
-- epoch and a sequence name one entry, whatever a failover loses.
local stream, facts = KEYS[1], KEYS[2]
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. ':' .. string.match(info, 'master_replid2:(%w+)')
local alone = string.find(info, 'connected_slaves:0\r', 1, true)

local function text(n) return string.format('%.0f', n) end

-- The newest sequence that the stream has ever had. The facts may be behind it: somebody else may have added an entry.
local function generated()
  if redis.call('EXISTS', stream) == 0 then return 0 end
  local list = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #list, 2 do
    if list[i] == 'last-generated-id' then return tonumber(string.match(list[i + 1], '^%d+')) end
  end
end

local f = redis.call('HMGET', facts, 'epoch', 'run', 'last', 'at', 'safe')
local epoch, ofRun, last, at, safe = f[1], f[2], tonumber(f[3]), tonumber(f[4]) or 0, f[5]
if not last then last = generated() end
if safe == '1' and (not alone or ARGV[3] ~= '1') then
  redis.call('HSET', facts, 'safe', '0')
end

local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
-- What the network has held for long may have been repeated by another connection, and the window that would show it has ended.
if ARGV[4] ~= '0' and now - ARGV[4] > ARGV[2] * 500 then
  return redis.error_reply('LATE the messages were sent more than half a duplicate window ago')
end
at = math.max(at + 1, now) -- the times of the entries never go back; those of one call have ascending digits

local function add(digits, key, header, frame)
  for try = 1, 2 do
    local id = text(last + 1) .. '-' .. text(at) .. digits
    local r
    if ARGV[1] == '0' then
      r = redis.pcall('XADD', stream, id, 'key', key, 'head', header, 'frame:' .. epoch, frame)
    else
      r = redis.pcall('XADD', stream, 'MAXLEN', '~', ARGV[1], id, 'key', key, 'head', header, 'frame:' .. epoch, frame)
    end
    if type(r) == 'string' then
      last = last + 1
      return nil
    end
    if try == 2 or not string.find(r.err, 'equal or smaller', 1, true) then return r.err end
    last = generated()
    if last >= 9007199254740000 then return 'ERR the stream has an ID that no sequence can follow' end
  end
end

local results, stored = {}, false
for i = 5, #ARGV, 8 do
  local kind, place, digits, key, header, frame, want, newEpoch = unpack(ARGV, i, i + 7)
  local result
  local before = place ~= '0' and redis.call('GET', KEYS[tonumber(place)])
  if kind == 'x' then
    if want ~= '0' and tonumber(want) ~= last + 1 then
      result = 'CONFLICT'
    else
      local was = epoch
      epoch = newEpoch
      result = add(digits, key, header, frame)
      if result then
        epoch = was
      else
        ofRun = run
        redis.call('HSET', facts, 'epoch', epoch, 'epochseq', text(last), 'run', run,
          'safe', (alone and ARGV[3] == '1') and '1' or '0')
      end
    end
  elseif not epoch or ofRun ~= run then
    result = 'EPOCH'
  elseif before then
    result = 'd' .. before
  else
    result = add(digits, key, header, frame)
  end
  if not result then
    stored = true
    result = 's' .. text(last)
    if place ~= '0' then redis.call('SET', KEYS[tonumber(place)], text(last), 'PX', ARGV[2]) end
  end
  results[#results + 1] = result
end
if stored then redis.call('HSET', facts, 'last', text(last), 'at', text(at)) end
return results
