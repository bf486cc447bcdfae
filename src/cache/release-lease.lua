-- Releases a lease, and stores the entry if one is given, unless the lease was lost or an invalidation came after it was
-- granted.
-- KEYS as in lookup.lua; KEYS[3] is where this lease leaves its result
-- ARGV[1] epoch, ARGV[2] token, ARGV[3] generation when the lease was granted, '' if unknown
-- ARGV[4] result for the current waiters, '' for none; ARGV[5] its lifetime in milliseconds
-- With an entry: ARGV[6] record, ARGV[7] age, ARGV[8] freshness, ARGV[9] time to live
-- Returns 'invalidated', 'lease_lost' or 'released'.
local generations = redis.call('MGET', KEYS[4], KEYS[5])
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
local generation = ARGV[1] .. '|' .. history .. '|' .. (generations[1] or '') .. '/|' .. (generations[2] or '') .. '/'
local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation', 'watched')
local is_held = lease[1] == ARGV[2]
if is_held then
  redis.call('DEL', KEYS[2])
end
if (ARGV[3] ~= '' and ARGV[3] ~= generation) or (is_held and lease[2] ~= generation) then
  return 'invalidated'
end
if not is_held then
  return 'lease_lost'
end
if lease[3] and ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
end
if not ARGV[6] then
  return 'released'
end
if tonumber(ARGV[9]) > 0 then
  local time = redis.call('TIME')
  local originated_at = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[7]
  local head = string.format('%.0f', originated_at) .. ' ' .. ARGV[8] .. ' ' .. generation .. ' '
  redis.call('SET', KEYS[1], head .. ARGV[6], 'PX', ARGV[9])
else
  redis.call('DEL', KEYS[1])
end
return 'released'
