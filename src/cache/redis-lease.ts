import type { FailureReason } from '../upstream/failure.ts';
import type { CacheKey } from './entry.ts';
import { encodeEntry } from './entry-codec.ts';
import { maxUsableAgeMs } from './freshness.ts';
import type { Lease, SharedEntry } from './shared-cache.ts';

/** A lease expires this long after its holder died. While the holder fetches, it renews the lease. */
export const LEASE_MS = 1000;
const RENEW_INTERVAL_MS = 300;
/** A waiter polls at least this often. */
const WAITER_POLL_MS = 300;
/** If an entry stays fresh for less than this, it may be stale when waiters poll, so they also get the result itself. */
const MIN_FRESH_FOR_WAITERS_MS = 300;
const LEADER_RESULT_TTL_MS = 1000;

export const RENEW = `
if redis.pcall('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/** Returns 0, and keeps the lease, if a waiter polled it in the last ARGV[2] milliseconds. */
export const RELEASE_IF_UNWATCHED = `
local lease = redis.pcall('HMGET', KEYS[1], 'token', 'watched_at')
if lease[1] ~= ARGV[1] then return 1 end
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) - (lease[2] or 0) < tonumber(ARGV[2]) then return 0 end
return redis.call('DEL', KEYS[1])`;

export type RedisKeys = readonly [entry: string, lease: string, group: string, document: string, leaderResult: string];
export type Script = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

export interface LeaseScripts {
  readonly renew: Script;
  readonly release: Script;
  readonly releaseIfUnwatched: Script;
}

export interface LeaseOptions {
  readonly key: CacheKey;
  readonly redisKeys: RedisKeys;
  readonly epoch: string;
  readonly token: string;
  /** Undefined if the reply of the lookup was lost: then the lease may not have been granted. */
  readonly generation: string | undefined;
  readonly scripts: LeaseScripts;
  isRedisDown(): boolean;
  /** Purges the key in every process. */
  broadcastPurge(): Promise<void>;
}

/** A lease in Redis. If it was never granted, or has expired, its methods store nothing. */
export class RedisLease implements Lease {
  readonly isDistributed = true;
  readonly #options: LeaseOptions;
  readonly #renewal: NodeJS.Timeout;

  constructor(options: LeaseOptions) {
    this.#options = options;
    const { scripts, redisKeys, token } = options;
    // A failed renewal needs no handling: at worst the lease expires and another gateway fetches as well.
    const renew = () => void scripts.renew([redisKeys[1]], [token, LEASE_MS]).catch(() => {});
    this.#renewal = setInterval(renew, RENEW_INTERVAL_MS).unref();
  }

  async commit(entry: SharedEntry, replacesDocument: boolean): Promise<boolean> {
    const { content, lifetime, ageMs } = entry;
    const record = encodeEntry(this.#options.key, entry);
    const ttlMs = Math.ceil(maxUsableAgeMs(lifetime) - ageMs);
    const leaderResult = lifetime.freshMs - ageMs > MIN_FRESH_FOR_WAITERS_MS ? '' : record;
    const stored = [content.outcome, record, Math.floor(ageMs), Math.floor(lifetime.freshMs), ttlMs];
    const outcome = await this.#release([leaderResult, LEADER_RESULT_TTL_MS, ...stored]);
    if (outcome === 'purged') return false;
    // Other processes must not serve a document stale that the origin no longer has.
    const isDocumentGone = outcome === 'replaced_document' || (replacesDocument && content.outcome !== 'found');
    if (isDocumentGone) await this.#options.broadcastPurge().catch(() => {});
    return true;
  }

  async release(reason: FailureReason | undefined): Promise<void> {
    await this.#release([reason ?? '', LEADER_RESULT_TTL_MS]);
  }

  async releaseIfUnwatched(): Promise<boolean> {
    const { scripts, redisKeys, token, isRedisDown } = this.#options;
    const isReleased = await scripts.releaseIfUnwatched([redisKeys[1]], [token, WAITER_POLL_MS]).then(
      (reply) => reply !== 0,
      isRedisDown, // Waiters on a dead Redis fetch for themselves. A slow Redis may still have waiters.
    );
    if (isReleased) clearInterval(this.#renewal);
    return isReleased;
  }

  async #release(args: readonly (string | number)[]): Promise<unknown> {
    clearInterval(this.#renewal);
    const { scripts, redisKeys, epoch, token, generation = '' } = this.#options;
    return scripts.release(redisKeys, [epoch, token, generation, ...args]).catch(() => 'unavailable');
  }
}
