-- Looks up an entry, and grants a lease to fetch the document if no fresh entry exists.
-- KEYS[1] entry: "ORIGINATED_AT FRESH_MS GENERATION RECORD"; ORIGINATED_AT by the clock of Redis, in milliseconds
-- KEYS[2] lease: hash of token, generation and, once another gateway waits, watched
-- KEYS[3] result that the leader left for its waiters
-- KEYS[4], KEYS[5] generations of the account group and of the document: see redis-invalidator.ts
-- ARGV[1] epoch of the invalidation log, ARGV[2] token of the caller, ARGV[3] lease duration in milliseconds
-- ARGV[4] mode: 'initial'; 'poll' (waits for a leader and has seen the stale entry); 'skip_stored' (ignores the stored
--         entry); 'peek' (returns the entry at any age and grants no lease)
-- Returns { 'leader_result', result } or { 'fresh' | 'held' | 'granted' | 'peeked', age, record, detail, fresh_ms }.
-- age is -1 without an entry. detail is the leader's token if held, the generation if granted. After a soft invalidation
-- fresh_ms is the age of the entry at that time; otherwise its freshness when it was stored.
local mode = ARGV[4]
if mode == 'poll' then
  local result = redis.pcall('GET', KEYS[3])
  if type(result) == 'string' then
    return { 'leader_result', result }
  end
end

-- The generation of an entry or a lease is "EPOCH|HISTORY|GROUP/|DOCUMENT/", with the generations of its scopes. HISTORY is
-- the replication id: a node that restarted or was promoted has a new one, because it may have lost the last generations.
local generations = redis.call('MGET', KEYS[4], KEYS[5])
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
local generation = ARGV[1] .. '|' .. history .. '|' .. (generations[1] or '') .. '/|' .. (generations[2] or '') .. '/'
local function without_soft(text)
  return (string.gsub(text, '/[^|]*', ''))
end
local hard = without_soft(generation)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local age, record, fresh_ms = -1, '', 0
-- pcall: a value of another type is ignored, and overwritten later.
local stored = mode ~= 'skip_stored' and redis.pcall('GET', KEYS[1])
if type(stored) == 'string' then
  local originated_at, fresh_text, stored_generation, text = string.match(stored, '^(%d+) (%d+) (%S+) (.*)$')
  -- An entry from the future has an unknown age, because the clock was set back. Ignore it.
  if stored_generation and without_soft(stored_generation) == hard and tonumber(originated_at) <= now then
    fresh_ms = tonumber(fresh_text)
    local next_stored = string.gmatch(stored_generation, '/([^|]*)')
    for soft in string.gmatch(generation, '/([^|]*)') do
      if soft ~= next_stored() then
        local invalidated_at = tonumber(string.match(soft, '^%d+')) or 0
        fresh_ms = math.max(0, math.min(fresh_ms, invalidated_at - originated_at))
      end
    end
    local is_fresh = now - originated_at < fresh_ms
    if is_fresh or mode == 'initial' or mode == 'peek' then
      age, record = now - originated_at, text
    end
    if is_fresh then
      return { 'fresh', age, record, '', fresh_ms }
    end
  end
end

if mode == 'peek' then
  return { 'peeked', age, record, '', fresh_ms }
end

-- A soft invalidation does not end a lease: at most one refresh is in flight.
local lease = redis.pcall('HMGET', KEYS[2], 'token', 'generation')
local ttl = redis.call('PTTL', KEYS[2])
local is_valid = lease[1] and without_soft(lease[2] or '') == hard and ttl > 0 and ttl <= tonumber(ARGV[3])
if is_valid and lease[1] ~= ARGV[2] then
  redis.call('HSET', KEYS[2], 'watched', '1')
  return { 'held', age, record, lease[1], fresh_ms }
end
if lease.err then -- A value of another type.
  redis.call('DEL', KEYS[2])
end
-- Normally the first write, and not a deletion: so a full Redis rejects the script (see REPLACE in redis-key-store.ts), no lease
-- is granted, and no entry is stored.
redis.call('HSET', KEYS[2], 'token', ARGV[2], 'generation', generation)
redis.call('HDEL', KEYS[2], 'watched')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { 'granted', age, record, generation, fresh_ms }
