-- GCRA on the clock of Redis (see gcra.ts). Applies each request to all limits of its subject, or to none.
-- KEYS, per subject: the API key's record, and the buckets as "UPDATED_AT LEVEL LEVEL … ; QUOTA WINDOW QUOTA WINDOW …", in
-- milliseconds
-- ARGV, per subject:
--   the version of the key record that the caller relies on, or '' for a subject that is not an API key
--   the number of requests to consume, or 0 only to read and to report
--   the number of limits, and for each limit: the quota, the window in milliseconds, the burst, and the number of unreported
--   requests. Those were admitted while Redis was unavailable. They are added first, up to the capacity.
-- Returns, per subject, { allowed, level, level, … }: how many of the requests are allowed and the levels after them, or { -1 } if
-- the key record has changed.
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
local function write_buckets(key, levels, first)
  local text, limits, drain = string.format('%.0f', now), ' ;', 1
  for i, level in ipairs(levels) do
    local quota, window = ARGV[first + 4 * (i - 1)], ARGV[first + 4 * (i - 1) + 1]
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

local function consume(record, buckets, version, allowed, first, last)
  if version ~= '' and redis.pcall('HGET', record, 'version') ~= version then
    return { -1 }
  end
  local stored, previous = read_buckets(buckets)
  if #previous == 0 then -- Stored by an earlier version.
    for i = first, last, 4 do
      previous[#previous + 1], previous[#previous + 2] = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    end
  end
  local updated_at = stored[1] or now
  -- If the clock was set back nothing leaks, and the levels are stored with the new time.
  local elapsed, is_changed = math.max(0, now - updated_at), now < updated_at
  local drained, levels = {}, {}
  for i = 1, #previous / 2 do
    drained[i] = math.max(0, (stored[i + 1] or 0) - elapsed * previous[2 * i - 1])
  end
  for i = first, last, 4 do
    local window, unreported = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
    local capacity = ARGV[i + 2] * window
    local level = math.min(capacity, carry_over(#levels + 1, window, previous, drained))
    level = math.min(capacity, level + unreported * window)
    levels[#levels + 1] = level
    allowed = math.min(allowed, math.floor((capacity - level) / window))
    is_changed = is_changed or unreported > 0
  end
  for i in ipairs(levels) do
    levels[i] = levels[i] + allowed * ARGV[first + 4 * (i - 1) + 1]
  end
  if allowed > 0 or is_changed then write_buckets(buckets, levels, first) end
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
