import type { Redis } from 'ioredis';

/** A monotonic clock that only the test advances. */
export class Clock {
  #ms = 1_000_000;
  readonly now = () => this.#ms;

  advance(ms: number): void {
    this.#ms += ms;
  }
}

const AGE_ENTRIES = `
for _, name in ipairs(redis.call('KEYS', '*:{cache:*}:/*')) do
  local stored = redis.pcall('GET', name)
  local at, rest = string.match(type(stored) == 'string' and stored or '', '^(%d+)( .*)$')
  if at then
    redis.call('SET', name, string.format('%.0f', at - ARGV[1]) .. rest, 'KEEPTTL')
  end
end`;

/** Backdates every shared cache entry. Their age comes from the Redis clock, which a test cannot advance. */
export async function ageSharedEntries(client: Redis, ms: number): Promise<void> {
  await client.eval(AGE_ENTRIES, 0, ms);
}
