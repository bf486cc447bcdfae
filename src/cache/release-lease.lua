-- Ends a lease, with an entry or without one, if it is still the caller's and no purge has come since it was given.
-- KEYS as in lookup.lua, KEYS[5] the note that this lease leaves
-- ARGV[1] the epoch, ARGV[2] the token, ARGV[3] the generation when it was granted; '': not known
-- ARGV[4] what is left to those who wait now, for ARGV[5] milliseconds; '': nothing. With an entry:
-- ARGV[6] kind, ARGV[7] record, ARGV[8] its age, ARGV[9] how long it is fresh, ARGV[10] how long it is kept
-- Returns 'purged'; 'lost'; 'vanished' if a document that was stored is there no more; or 'ended'.
local generations = redis.call('MGET', KEYS[3], KEYS[4])
local generation = ARGV[1] .. ':' .. (generations[1] or '') .. ':' .. (generations[2] or '')
if ARGV[3] ~= '' and ARGV[3] ~= generation then
  return 'purged'
end
local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation', 'waited')
if lease[1] ~= ARGV[2] or lease[2] ~= generation then
  return 'lost'
end
redis.call('DEL', KEYS[2])
if lease[3] and ARGV[4] ~= '' then
  redis.call('SET', KEYS[5], ARGV[4], 'PX', ARGV[5])
end
if not ARGV[6] then
  return 'ended'
end

local before = redis.pcall('GET', KEYS[1])
local kind, of = string.match(type(before) == 'string' and before or '', '^%d+ %d+ (%S+) (%S+) ')
if tonumber(ARGV[10]) > 0 then
  local time = redis.call('TIME')
  local at = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[8]
  local head = string.format('%.0f', at) .. ' ' .. ARGV[9] .. ' ' .. ARGV[6] .. ' ' .. generation .. ' '
  redis.call('SET', KEYS[1], head .. ARGV[7], 'PX', ARGV[10])
else
  redis.call('DEL', KEYS[1])
end
return kind == 'found' and of == generation and ARGV[6] ~= 'found' and 'vanished' or 'ended'
