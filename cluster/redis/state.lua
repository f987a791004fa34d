-- Returns the state of a partition, and the first entry after a sequence.
--
-- KEYS: the stream, its facts
-- ARGV: an identifier for a log that has none yet, the number of partitions, '1' if Redis confirms only what is on disk, a sequence
-- Returns: first, last, created, epoch, the epoch's sequence, '1' if confirmed entries may be lost, the id of the first entry after
-- the sequence or ''
local stream, facts = KEYS[1], KEYS[2]
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local before = string.match(info, 'master_replid2:(%w+)')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. ':' .. before
local promoted = not string.match(before, '^0+$')
local alone = string.find(info, 'connected_slaves:0\r', 1, true)

local f = redis.call('HMGET', facts, 'created', 'partitions', 'epoch', 'epochseq', 'run', 'safe', 'last')
local created, partitions, epoch, epochSeq, ofRun, safe, last = unpack(f, 1, 7)
if not created then
  created, partitions = ARGV[1], ARGV[2]
  redis.call('HSET', facts, 'created', created, 'partitions', partitions)
end
if partitions ~= ARGV[2] then
  return redis.error_reply('PARTITIONS ' .. partitions)
end

-- Nothing that was confirmed is lost if every confirmation waited for the disk, nobody else had a copy, and nobody was promoted.
if epoch and ofRun ~= run and safe == '1' and ARGV[3] == '1' and alone and not promoted then
  redis.call('HSET', facts, 'run', run)
  ofRun = run
end
if safe == '1' and (not alone or ARGV[3] ~= '1') then
  redis.call('HSET', facts, 'safe', '0')
end

local first, after = '', ''
local generated = 0
if redis.call('EXISTS', stream) == 1 then
  local list = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #list, 2 do
    if list[i] == 'last-generated-id' then
      generated = tonumber(string.match(list[i + 1], '^%d+'))
    elseif list[i] == 'first-entry' and list[i + 1] then
      first = string.match(list[i + 1][1], '^%d+')
    end
  end
  local e = redis.call('XRANGE', stream, ARGV[4] .. '-18446744073709551615', '+', 'COUNT', 2)
  for i = 1, #e do
    if after == '' and tonumber(string.match(e[i][1], '^%d+')) > tonumber(ARGV[4]) then after = e[i][1] end
  end
end
last = math.max(tonumber(last or 0), generated)
if first == '' then first = last + 1 end
return { string.format('%.0f', first), string.format('%.0f', last), created, epoch or '', epochSeq or '0',
  (epoch and ofRun ~= run) and '1' or '0', after }
