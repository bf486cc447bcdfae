-- GCRA on the clock of Redis (see gcra.ts). Applies the requests of one subject to all its limits, or to none.
-- KEYS[1] the API key's record; KEYS[2] the buckets as "UPDATED_AT LEVEL … | QUOTA WINDOW BURST …", in milliseconds
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
  local levels, limits = string.match(type(text) == 'string' and text or '', '^([^|]*)|?(.*)$')
  return parse_numbers(levels), parse_numbers(limits)
end

-- Expires when the fullest bucket has drained.
local function write_buckets(key, levels)
  local text, limits, drain = string.format('%.0f', now), ' |', 1
  for i, level in ipairs(levels) do
    local quota, window, burst = ARGV[4 * i - 1], ARGV[4 * i], ARGV[4 * i + 1]
    text = text .. ' ' .. string.format('%.0f', level)
    limits = limits .. ' ' .. quota .. ' ' .. window .. ' ' .. burst
    drain = math.max(drain, math.ceil(level / quota))
  end
  redis.call('SET', key, text .. limits, 'PX', string.format('%.0f', drain))
end

if ARGV[1] ~= '' and redis.pcall('HGET', KEYS[1], 'version') ~= ARGV[1] then
  return { -1 }
end
local stored, previous = read_buckets(KEYS[2])
if #previous == 0 or #previous % 3 > 0 then -- Stored by an earlier version, or corrupt.
  for i = 3, #ARGV, 4 do
    for j = 0, 2 do
      previous[#previous + 1] = tonumber(ARGV[i + j])
    end
  end
end
local updated_at = stored[1] or now
-- If the clock was set back nothing leaks, and the levels are stored with the new time.
local elapsed, is_changed = math.max(0, now - updated_at), now < updated_at

-- The buckets that decide where the limit i starts, as the first and the last index (see findPrevious in gcra.ts).
local function find_previous(i, window)
  if previous[3 * i - 1] == window then return i, i end
  for j = 1, #previous / 3 do
    if previous[3 * j - 1] == window then return j, j end
  end
  return 1, #previous / 3
end

-- See carryOver in gcra.ts.
local function carry_over(i, quota, window, burst)
  local max_level = (burst - 1) * window
  local by_own_rate, by_previous_rate, wait = 0, 0, 0
  local first, last = find_previous(i, window)
  for j = first, last do
    local previous_quota, previous_window, previous_burst = previous[3 * j - 2], previous[3 * j - 1], previous[3 * j]
    local scale, level = window / previous_window, math.min(stored[j + 1] or 0, previous_burst * previous_window)
    local drained = math.max(0, level - elapsed * previous_quota)
    by_own_rate = math.max(by_own_rate, level * scale - elapsed * quota)
    by_previous_rate = math.max(by_previous_rate, drained * scale)
    wait = math.max(wait, (drained - max_level / scale) / previous_quota)
  end
  local level = math.floor(math.min(by_own_rate, by_previous_rate))
  return level <= max_level and level or max_level + math.ceil(math.min(by_own_rate - max_level, wait * quota))
end

local levels, allowed = {}, tonumber(ARGV[2])
for i = 3, #ARGV, 4 do
  local quota, window, burst = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local capacity, unreported = burst * window, tonumber(ARGV[i + 3])
  local level = carry_over(#levels + 1, quota, window, burst)
  level = math.max(level, math.min(capacity, level + unreported * window))
  levels[#levels + 1] = level
  allowed = math.max(0, math.min(allowed, math.floor((capacity - level) / window)))
  is_changed = is_changed or unreported > 0
end
for i in ipairs(levels) do
  levels[i] = levels[i] + allowed * ARGV[4 * i]
end
if allowed > 0 or is_changed then write_buckets(KEYS[2], levels) end
return { allowed, unpack(levels) }
