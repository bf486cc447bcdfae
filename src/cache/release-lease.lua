-- Releases a lease, and stores the entry if one is given, unless the lease was lost or a purge came after it was granted.
-- KEYS as in lookup.lua; KEYS[5] is where this lease leaves its result
-- ARGV[1] epoch, ARGV[2] token, ARGV[3] generation when the lease was granted, '' if unknown
-- ARGV[4] result for the current waiters, '' for none; ARGV[5] its lifetime in milliseconds
-- With an entry: ARGV[6] kind, ARGV[7] record, ARGV[8] age, ARGV[9] freshness, ARGV[10] time to live
-- Returns 'purged', 'lease_lost', 'replaced_document' (a stored document was replaced by something else), or 'released'.
local generations = redis.call('MGET', KEYS[3], KEYS[4])
local generation = ARGV[1] .. ':' .. (generations[1] or '') .. ':' .. (generations[2] or '')
if ARGV[3] ~= '' and ARGV[3] ~= generation then
  return 'purged'
end
local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation', 'watched_at')
if lease[1] ~= ARGV[2] or lease[2] ~= generation then
  return 'lease_lost'
end
redis.call('DEL', KEYS[2])
if lease[3] and ARGV[4] ~= '' then
  redis.call('SET', KEYS[5], ARGV[4], 'PX', ARGV[5])
end
local kind = ARGV[6]
if not kind then
  return 'released'
end

local previous = redis.pcall('GET', KEYS[1])
local previous_kind, previous_generation =
  string.match(type(previous) == 'string' and previous or '', '^%d+ %d+ (%S+) (%S+) ')
if tonumber(ARGV[10]) > 0 then
  local time = redis.call('TIME')
  local originated_at = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[8]
  local head = string.format('%.0f', originated_at) .. ' ' .. ARGV[9] .. ' ' .. kind .. ' ' .. generation .. ' '
  redis.call('SET', KEYS[1], head .. ARGV[7], 'PX', ARGV[10])
else
  redis.call('DEL', KEYS[1])
end
if previous_kind == 'found' and previous_generation == generation and kind ~= 'found' then
  return 'replaced_document'
end
return 'released'
