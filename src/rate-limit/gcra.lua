-- Charges requests to subjects, and admits of each as many as fit: all limits or none (GCRA; see gcra.ts).
-- KEYS of each subject: the key record, and the buckets: "AT LEVEL LEVEL …", AT in milliseconds of Redis' own clock
-- ARGV of each subject: the version of the key record that the caller relies on, or '' for a subject that is no key; how many
-- requests ask; how many limits there are; and of each limit the quota, the window in milliseconds, and what is owed to it:
-- requests that were admitted while this could not be asked, counted first, whatever room there is
-- Returns for each { admitted, level, level, … } with the levels before the charge, or { -1 } when the key record has changed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function charge(record, buckets, version, asked, first, last)
  if version ~= '' and redis.pcall('HGET', record, 'version') ~= version then
    return { -1 }
  end

  -- A value of another type is as none, and written over.
  local state = redis.pcall('GET', buckets)
  local stored = {}
  for number in string.gmatch(type(state) == 'string' and state or '', '%d+') do
    stored[#stored + 1] = tonumber(number)
  end
  local at = stored[1] or now
  -- A clock that was set back leaks nothing, and the buckets are dated anew below.
  local elapsed = math.max(0, now - at)

  local admitted, isOwed = asked, false
  local levels = {}
  for i = first, last, 3 do
    local quota, window, owed = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local capacity = quota * window
    local level = math.max(0, math.min(stored[#levels + 2] or 0, capacity) - elapsed * quota)
    level = math.min(capacity, level + owed * window)
    levels[#levels + 1] = level
    admitted = math.min(admitted, math.floor((capacity - level) / window))
    isOwed = isOwed or owed > 0
  end

  if admitted > 0 or isOwed or now < at then
    local text, drain = string.format('%.0f', now), 1
    for i, level in ipairs(levels) do
      local quota, window = ARGV[first + 3 * i - 3], ARGV[first + 3 * i - 2]
      local after = level + admitted * window
      text = text .. ' ' .. string.format('%.0f', after)
      drain = math.max(drain, math.ceil(after / quota))
    end
    redis.call('SET', buckets, text, 'PX', string.format('%.0f', drain))
  end
  return { admitted, unpack(levels) }
end

local answers, from = {}, 1
for i = 1, #KEYS, 2 do
  local first = from + 3
  local last = first + 3 * ARGV[from + 2] - 1
  answers[#answers + 1] = charge(KEYS[i], KEYS[i + 1], ARGV[from], tonumber(ARGV[from + 1]), first, last)
  from = last + 1
end
return answers
