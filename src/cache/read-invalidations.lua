-- Returns the invalidations after a position, and starts a new epoch where some may have been lost.
-- KEYS[1] log: hash of epoch, sequence, and the last invalidations under their sequence numbers
-- ARGV[1] epoch and ARGV[2] sequence of the position; ARGV[3] id for a new epoch; ARGV[4] capacity of the log
-- Returns { epoch, sequence, invalidation... }. An empty string stands for invalidations that are unknown.
local log = redis.pcall('HMGET', KEYS[1], 'epoch', 'sequence')
-- Replace a corrupt log: a key of another type, or a sequence that is not a safe integer.
if log.err or not string.match(log[2] or '0', '^%d+$') or #(log[2] or '0') > 15 then
  redis.call('DEL', KEYS[1])
  log = {}
end

-- A restarted or promoted server may have lost the last invalidations while it still holds the entries they purged. It has a
-- new replication id, which is therefore part of the epoch. A replica has that of its master, and is read without a write.
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
local id = string.match(log[1] or '', '^[%w-]+$')
local epoch = id and id .. ':' .. history
local sequence, position = tonumber(log[2] or '0'), tonumber(ARGV[2])
-- A server that was restored to an earlier state may hold entries that were purged since.
local is_restored = epoch == ARGV[1] and sequence < position
if not id or is_restored then
  epoch = ARGV[3] .. ':' .. history
  -- A deletion, of nothing, comes first, so that this also runs in a full Redis: see REPLACE in redis-key-store.ts.
  redis.call('HDEL', KEYS[1], '')
  redis.call('HSET', KEYS[1], 'epoch', ARGV[3])
end

local reply = { epoch, sequence }
if epoch ~= ARGV[1] or sequence - position > tonumber(ARGV[4]) then
  reply[3] = ''
elseif sequence > position then
  for number = position + 1, sequence do
    table.insert(reply, redis.call('HGET', KEYS[1], string.format('%.0f', number)) or '')
  end
end
return reply
