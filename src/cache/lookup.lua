-- Looks for an entry, and gives a lease to ask the campaign service where there is none that is fresh.
-- KEYS[1] the entry: "AT FRESH_MS KIND GENERATION RECORD", AT in milliseconds of Redis' own clock when its age was zero
-- KEYS[2] the lease: a hash of token, generation and, once somebody waits for it, waited (when it was last asked for)
-- KEYS[3], KEYS[4] the generations of the account group and of the campaign
-- KEYS[5] the note of what the lease came to that the asker waits for
-- ARGV[1] the epoch of the purge log, ARGV[2] the asker's token, ARGV[3] the lease in milliseconds
-- ARGV[4] 'first', 'waiting' (the asker knows what is stored), 'anew' (takes what is stored as none), or 'peek' (only looks)
-- ARGV[5], ARGV[6], ARGV[7] for how long the asker takes what is found, not_found, uncacheable as fresh
-- Returns { 'noted', note } or { 'fresh' | 'held' | 'granted' | 'seen', age, kind, record, more }; age -1: no entry; more: of one that
-- is held its holder's token, of one that is granted the generation.
if ARGV[4] == 'waiting' then
  local note = redis.pcall('GET', KEYS[5])
  if type(note) == 'string' then
    return { 'noted', note }
  end
end

local generations = redis.call('MGET', KEYS[3], KEYS[4])
local generation = ARGV[1] .. ':' .. (generations[1] or '') .. ':' .. (generations[2] or '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local allowed = { found = ARGV[5], not_found = ARGV[6], uncacheable = ARGV[7] }

local age, kind, record = -1, '', ''
-- A value of another type is as none, and written over.
local stored = ARGV[4] ~= 'anew' and redis.pcall('GET', KEYS[1])
if type(stored) == 'string' then
  local at, fresh, what, of, text = string.match(stored, '^(%d+) (%d+) (%S+) (%S+) (.*)$')
  -- What comes from the future is as none: the clock has been set back, and nobody knows how old it is.
  if of == generation and allowed[what] and tonumber(at) <= now then
    local isFresh = now - at < math.min(tonumber(fresh), tonumber(allowed[what]))
    if isFresh or ARGV[4] == 'first' or ARGV[4] == 'peek' then
      age, kind, record = now - at, what, text
    end
    if isFresh then
      return { 'fresh', age, kind, record, '' }
    end
  end
end

if ARGV[4] == 'peek' then
  return { 'seen', age, kind, record, '' }
end

local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation')
local left = redis.call('PTTL', KEYS[2])
if lease[1] and lease[1] ~= ARGV[2] and lease[2] == generation and left > 0 and left <= tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[2], 'waited', string.format('%.0f', now))
  return { 'held', age, kind, record, lease[1] }
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', ARGV[2], 'generation', generation)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { 'granted', age, kind, record, generation }
