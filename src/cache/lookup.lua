-- Looks up an entry, and grants a lease to fetch the document if no fresh entry exists.
-- KEYS[1] entry: "ORIGINATED_AT FRESH_MS GENERATION RECORD"; ORIGINATED_AT by the clock of Redis, in milliseconds
-- KEYS[2] lease: hash of token, generation and, once another gateway waits, watched
-- KEYS[3], KEYS[4] generations of the account group and of the document
-- KEYS[5] result that the leader left for its waiters
-- ARGV[1] epoch of the invalidation log, ARGV[2] token of the caller, ARGV[3] lease duration in milliseconds
-- ARGV[4] mode: 'initial'; 'poll' (waits for a leader and has seen the stale entry); 'skip_stored' (ignores the stored
--         entry); 'peek' (returns the entry at any age and grants no lease)
-- Returns { 'leader_result', result } or { 'fresh' | 'held' | 'granted' | 'peeked', age, record, detail }.
-- age is -1 without an entry. detail is the leader's token if held, the generation if granted.
local mode = ARGV[4]
if mode == 'poll' then
  local result = redis.pcall('GET', KEYS[5])
  if type(result) == 'string' then
    return { 'leader_result', result }
  end
end

local generations = redis.call('MGET', KEYS[3], KEYS[4])
local generation = ARGV[1] .. ':' .. (generations[1] or '') .. ':' .. (generations[2] or '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local age, record = -1, ''
-- pcall: a value of another type is ignored, and overwritten later.
local stored = mode ~= 'skip_stored' and redis.pcall('GET', KEYS[1])
if type(stored) == 'string' then
  local originated_at, fresh_ms, stored_generation, text = string.match(stored, '^(%d+) (%d+) (%S+) (.*)$')
  -- An entry from the future has an unknown age, because the clock was set back. Ignore it.
  if stored_generation == generation and tonumber(originated_at) <= now then
    local is_fresh = now - originated_at < tonumber(fresh_ms)
    if is_fresh or mode == 'initial' or mode == 'peek' then
      age, record = now - originated_at, text
    end
    if is_fresh then
      return { 'fresh', age, record, '' }
    end
  end
end

if mode == 'peek' then
  return { 'peeked', age, record, '' }
end

local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation')
local ttl = redis.call('PTTL', KEYS[2])
if lease[1] and lease[1] ~= ARGV[2] and lease[2] == generation and ttl > 0 and ttl <= tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[2], 'watched', '1')
  return { 'held', age, record, lease[1] }
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', ARGV[2], 'generation', generation)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { 'granted', age, record, generation }
