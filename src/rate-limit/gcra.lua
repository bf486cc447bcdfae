-- GCRA on the clock of Redis (see gcra.ts). Applies the requests of one subject to all its limits, or to none.
-- KEYS[1] the API key's record; KEYS[2] the buckets as "UPDATED_AT LEVEL LEVEL … ; QUOTA WINDOW QUOTA WINDOW …", in milliseconds
-- ARGV[1] the version of the key record that the caller relies on, or '' for a subject that is not an API key
-- ARGV[2] the number of requests to consume, or 0 only to read and to report
-- ARGV, four for each limit: the quota, the window in milliseconds, the burst, and the number of unreported requests. Those were
--   admitted while Redis was unavailable. They are added first, up to the capacity.
-- Returns { allowed, level, level, … }: how many of the requests are allowed and the levels after them, or { -1 } if the key record
-- has changed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function parse_numbers(text)
  local numbers = {}
  for number in string.gmatch(text, '%d+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  return numbers
end

-- A value of another type or format counts as empty and is overwritten.
local function read_buckets(key)
  local text = redis.pcall('GET', key)
  local levels, limits = string.match(type(text) == 'string' and text or '', '^([^;]*);?(.*)$')
  return parse_numbers(levels), parse_numbers(limits)
end

-- Expires when the fullest bucket has drained.
local function write_buckets(key, levels)
  local text, limits, drain = string.format('%.0f', now), ' ;', 1
  for i, level in ipairs(levels) do
    local quota, window = ARGV[4 * i - 1], ARGV[4 * i]
    text = text .. ' ' .. string.format('%.0f', level)
    limits = limits .. ' ' .. quota .. ' ' .. window
    drain = math.max(drain, math.ceil(level / quota))
  end
  redis.call('SET', key, text .. limits, 'PX', string.format('%.0f', drain))
end

-- The level of the bucket i, with this window, from buckets with the previous limits (see carryOver in gcra.ts).
local function carry_over(i, window, previous, levels)
  if previous[2 * i] == window then return levels[i] or 0 end
  local requests = 0
  for j = 1, #previous / 2 do
    if previous[2 * j] == window then return levels[j] or 0 end
    requests = math.max(requests, (levels[j] or 0) / previous[2 * j])
  end
  return math.ceil(requests * window)
end

if ARGV[1] ~= '' and redis.pcall('HGET', KEYS[1], 'version') ~= ARGV[1] then
  return { -1 }
end
local stored, previous = read_buckets(KEYS[2])
if #previous == 0 then -- Stored by an earlier version.
  for i = 3, #ARGV, 4 do
    previous[#previous + 1], previous[#previous + 2] = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  end
end
local updated_at = stored[1] or now
-- If the clock was set back nothing leaks, and the levels are stored with the new time.
local elapsed, is_changed = math.max(0, now - updated_at), now < updated_at
local drained, levels, allowed = {}, {}, tonumber(ARGV[2])
for i = 1, #previous / 2 do
  drained[i] = math.max(0, (stored[i + 1] or 0) - elapsed * previous[2 * i - 1])
end
for i = 3, #ARGV, 4 do
  local window, unreported = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
  local capacity = ARGV[i + 2] * window
  local level = math.min(capacity, carry_over(#levels + 1, window, previous, drained))
  level = math.min(capacity, level + unreported * window)
  levels[#levels + 1] = level
  allowed = math.min(allowed, math.floor((capacity - level) / window))
  is_changed = is_changed or unreported > 0
end
for i in ipairs(levels) do
  levels[i] = levels[i] + allowed * ARGV[4 * i]
end
if allowed > 0 or is_changed then write_buckets(KEYS[2], levels) end
return { allowed, unpack(levels) }
