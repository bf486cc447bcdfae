-- Looks for an entry, and gives a lease to ask the campaign service where there is none that is fresh.
-- KEYS[1] the entry: "AT FRESH_MS KIND GENERATION RECORD", AT in milliseconds of Redis' own clock when its age was zero
-- KEYS[2] the lease: a hash of token, generation and, once somebody waits for it, waited
-- KEYS[3], KEYS[4] the generations of the account group and of the campaign
-- ARGV[1] the epoch of the purge log, ARGV[2] the asker's token, ARGV[3] the lease in milliseconds
-- ARGV[4] '1' to take whatever is stored as none
-- Returns { age in ms or -1, record or '', 'needless' | 'held' | 'granted' }.
local generations = redis.call('MGET', KEYS[3], KEYS[4])
local generation = ARGV[1] .. ':' .. (generations[1] or '') .. ':' .. (generations[2] or '')

local age, record = -1, ''
-- A value of another type is as none, and written over.
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' and ARGV[4] ~= '1' then
  local at, fresh, kind, of, text = string.match(stored, '^(%d+) (%d+) (%S+) (%S+) (.*)$')
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- What comes from the future is as none: the clock has been set back, and nobody knows how old it is.
  if of == generation and tonumber(at) <= now then
    age, record = now - at, text
    if age < tonumber(fresh) then
      return { age, record, 'needless' }
    end
  end
end

local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation')
if lease[1] and lease[2] == generation and lease[1] ~= ARGV[2] then
  redis.call('HSET', KEYS[2], 'waited', '1')
  return { age, record, 'held' }
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', ARGV[2], 'generation', generation)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { age, record, 'granted' }
