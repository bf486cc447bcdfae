-- Charges up to ARGV[2] requests to one subject and admits as many as fit: all limits or none (GCRA; see gcra.ts).
-- KEYS[1] the key record, KEYS[2] the buckets: "AT LEVEL LEVEL …", AT in milliseconds of Redis' own clock
-- ARGV[1] the version of the key record that the caller relies on, or '' for a subject that is no key
-- ARGV[2] how many requests ask; ARGV[3…] of each limit the quota, the window in milliseconds, and what is owed to it:
-- requests that were admitted while this could not be asked, counted first, whatever room there is
-- Returns { admitted, level, level, … } with the levels before the charge, or { -1 } when the key record has changed.
if ARGV[1] ~= '' and redis.pcall('HGET', KEYS[1], 'version') ~= ARGV[1] then
  return { -1 }
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A value of another type is as none, and written over.
local state = redis.pcall('GET', KEYS[2])
local stored = {}
for number in string.gmatch(type(state) == 'string' and state or '', '%d+') do
  stored[#stored + 1] = tonumber(number)
end
local at = stored[1] or now
-- A clock that was set back leaks nothing, and the buckets are dated anew below.
local elapsed = math.max(0, now - at)

local admitted, isOwed = tonumber(ARGV[2]), false
local levels = {}
for i = 1, (#ARGV - 2) / 3 do
  local quota, window, owed = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local capacity = quota * window
  local level = math.max(0, math.min(stored[i + 1] or 0, capacity) - elapsed * quota)
  levels[i] = math.min(capacity, level + owed * window)
  admitted = math.min(admitted, math.floor((capacity - levels[i]) / window))
  isOwed = isOwed or owed > 0
end

if admitted > 0 or isOwed or now < at then
  local text, drain = string.format('%.0f', now), 1
  for i, level in ipairs(levels) do
    local after = level + admitted * ARGV[3 * i + 1]
    text = text .. ' ' .. string.format('%.0f', after)
    drain = math.max(drain, math.ceil(after / ARGV[3 * i]))
  end
  redis.call('SET', KEYS[2], text, 'PX', string.format('%.0f', drain))
end
return { admitted, unpack(levels) }
