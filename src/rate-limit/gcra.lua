-- GCRA on the clock of Redis (see gcra.ts). Applies each request to all limits of its subject, or to none.
-- KEYS, per request: the API key's record, and the bucket levels as "UPDATED_AT LEVEL LEVEL …", UPDATED_AT in milliseconds
-- ARGV, per request:
--   the version of the key record that the caller relies on, or '' for a subject that is not an API key
--   1 to consume, or 0 only to read and to report
--   the number of limits, and for each limit: the quota, the window in milliseconds, the burst, and the number of unreported
--   requests. Those were admitted while Redis was unavailable. They are added first, up to the capacity.
-- Returns, per request, { allowed, level, level, … }: 1 or 0 and the levels afterwards, or { -1 } if the key record has changed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A value of another type or format counts as empty and is overwritten.
local function read_numbers(key)
  local text = redis.pcall('GET', key)
  local numbers = {}
  for number in string.gmatch(type(text) == 'string' and text or '', '%d+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  return numbers
end

-- Expires when the fullest bucket has drained.
local function write_levels(key, levels, first)
  local text, drain = string.format('%.0f', now), 1
  for i, level in ipairs(levels) do
    text = text .. ' ' .. string.format('%.0f', level)
    drain = math.max(drain, math.ceil(level / ARGV[first + 4 * (i - 1)]))
  end
  redis.call('SET', key, text, 'PX', string.format('%.0f', drain))
end

local function consume(record, buckets, version, allowed, first, last)
  if version ~= '' and redis.pcall('HGET', record, 'version') ~= version then
    return { -1 }
  end
  local stored = read_numbers(buckets)
  local updated_at = stored[1] or now
  -- If the clock was set back nothing leaks, and the levels are stored with the new time.
  local elapsed, is_changed = math.max(0, now - updated_at), now < updated_at
  local levels = {}
  for i = first, last, 4 do
    local quota, window, unreported = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
    local capacity = ARGV[i + 2] * window
    local level = math.max(0, math.min(stored[#levels + 2] or 0, capacity) - elapsed * quota)
    level = math.min(capacity, level + unreported * window)
    levels[#levels + 1] = level
    if level + window > capacity then allowed = 0 end
    is_changed = is_changed or unreported > 0
  end
  for i in ipairs(levels) do
    levels[i] = levels[i] + allowed * ARGV[first + 4 * (i - 1) + 1]
  end
  if allowed > 0 or is_changed then write_levels(buckets, levels, first) end
  return { allowed, unpack(levels) }
end

local replies, from = {}, 1
for i = 1, #KEYS, 2 do
  local first = from + 3
  local last = first + 4 * ARGV[from + 2] - 1
  replies[#replies + 1] = consume(KEYS[i], KEYS[i + 1], ARGV[from], tonumber(ARGV[from + 1]), first, last)
  from = last + 1
end
return replies
