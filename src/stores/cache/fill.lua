-- Puts an entry there and ends the lease, if it is still the caller's and no purge has come since it was given.
-- KEYS and ARGV[1], ARGV[2] as in look-up.lua
-- ARGV[3] kind, ARGV[4] record, ARGV[5] its age, ARGV[6] how long it is fresh, ARGV[7] how long it is kept (milliseconds)
-- Returns 'refused', 'stored', or 'vanished' when a document that was there is there no more.
local generations = redis.call('MGET', KEYS[3], KEYS[4])
local generation = ARGV[1] .. ':' .. (generations[1] or '') .. ':' .. (generations[2] or '')
local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation')
if lease[1] ~= ARGV[2] or lease[2] ~= generation then
  return 'refused'
end
redis.call('DEL', KEYS[2])

local before = redis.pcall('GET', KEYS[1])
local kind, of = string.match(type(before) == 'string' and before or '', '^%d+ %d+ (%S+) (%S+) ')
if tonumber(ARGV[7]) > 0 then
  local time = redis.call('TIME')
  local at = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[5]
  local head = string.format('%.0f', at) .. ' ' .. ARGV[6] .. ' ' .. ARGV[3] .. ' ' .. generation .. ' '
  redis.call('SET', KEYS[1], head .. ARGV[4], 'PX', ARGV[7])
else
  redis.call('DEL', KEYS[1])
end
return kind == 'found' and of == generation and ARGV[3] ~= 'found' and 'vanished' or 'stored'
