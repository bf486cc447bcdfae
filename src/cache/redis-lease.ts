import type { FailureReason } from '../upstream/failure.ts';
import type { CacheKey } from './entry.ts';
import { encodeEntry } from './entry-codec.ts';
import { maxUsableAgeMs } from './freshness.ts';
import type { Lease, SharedEntry } from './shared-cache.ts';

/** So long after its holder has died a lease is free. It is renewed while the campaign service is asked. */
export const LEASE_MS = 1000;
const RENEW_MS = 300;
/** Who waits asks again within this time. */
const WAITER_POLL_MS = 300;
/** An entry that is fresh for less may not be so any more when those who wait look. */
const MIN_FRESH_FOR_WAITERS_MS = 300;
/** How long a note is there for those who waited. */
const LEADER_RESULT_TTL_MS = 1000;

export const RENEW = `
if redis.pcall('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/** 0 if it is the caller's and somebody has waited for it within the last ARGV[2] milliseconds. */
export const RELEASE_IF_UNWATCHED = `
local lease = redis.pcall('HMGET', KEYS[1], 'token', 'waited')
if lease[1] ~= ARGV[1] then return 1 end
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) - (lease[2] or 0) < tonumber(ARGV[2]) then return 0 end
return redis.call('DEL', KEYS[1])`;

type Script = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

export interface LeaseOptions {
  readonly key: CacheKey;
  /** Of the entry, the lease, the two generations and the note. */
  readonly keys: readonly [string, string, string, string, string];
  readonly epoch: string;
  readonly token: string;
  /** Undefined where it is not known whether the lease was given. */
  readonly generation: string | undefined;
  readonly scripts: { readonly renew: Script; readonly end: Script; readonly releaseIfUnwatched: Script };
  isRedisDown(): boolean;
  /** Tells all processes that what they have of this key is not to be used. */
  broadcastPurge(): Promise<void>;
}

/** A lease in Redis. It may turn out never to have been given; then nothing comes of its calls. */
export class RedisLease implements Lease {
  readonly isDistributed = true;
  readonly #options: LeaseOptions;
  readonly #renewal: NodeJS.Timeout;

  constructor(options: LeaseOptions) {
    this.#options = options;
    const { scripts, keys, token } = options;
    const renew = () => void scripts.renew([keys[1]], [token, LEASE_MS]).catch(() => {});
    this.#renewal = setInterval(renew, RENEW_MS).unref();
  }

  async commit(entry: SharedEntry, tookDocument: boolean): Promise<boolean> {
    const { content, lifetime, ageMs } = entry;
    const record = encodeEntry(this.#options.key, entry);
    const ttlMs = Math.ceil(maxUsableAgeMs(lifetime) - ageMs);
    const leaderResult = lifetime.freshMs - ageMs > MIN_FRESH_FOR_WAITERS_MS ? '' : record;
    const stored = [content.outcome, record, Math.floor(ageMs), Math.floor(lifetime.freshMs), ttlMs];
    const end = await this.#release([leaderResult, LEADER_RESULT_TTL_MS, ...stored]);
    const documentRemoved = end === 'vanished' || (tookDocument && content.outcome !== 'found');
    if (documentRemoved && end !== 'purged') await this.#options.broadcastPurge().catch(() => {});
    return end !== 'purged';
  }

  async release(reason: FailureReason | undefined): Promise<void> {
    await this.#release([reason ?? '', LEADER_RESULT_TTL_MS]);
  }

  async releaseIfUnwatched(): Promise<boolean> {
    const { scripts, keys, token, isRedisDown } = this.#options;
    const isReleased = await scripts.releaseIfUnwatched([keys[1]], [token, WAITER_POLL_MS]).then(
      (answer) => answer !== 0,
      isRedisDown, // Whoever waits sees the lease run out. From a slow Redis it is not known whether somebody does.
    );
    if (isReleased) clearInterval(this.#renewal);
    return isReleased;
  }

  async #release(args: readonly (string | number)[]): Promise<unknown> {
    clearInterval(this.#renewal);
    const { scripts, keys, epoch, token, generation = '' } = this.#options;
    return scripts.end(keys, [epoch, token, generation, ...args]).catch(() => 'unavailable');
  }
}
