import { formatFailure, type UpstreamFailure } from '../upstream/failure.ts';
import type { CacheKey } from './entry.ts';
import { encodeEntry } from './entry-codec.ts';
import { maxUsableAgeMs } from './freshness.ts';
import type { Lease, SharedEntry } from './shared-cache.ts';

/** A lease expires this long after its holder died. While the holder fetches, it renews the lease. */
export const LEASE_MS = 1000;
const RENEW_INTERVAL_MS = 300;
/** If an entry stays fresh for less than this, it may be stale when waiters poll, so they also get the result itself. */
const MIN_FRESH_FOR_WAITERS_MS = 300;
const LEADER_RESULT_TTL_MS = 1000;

export interface LeaseOptions {
  readonly key: CacheKey;
  /** Undefined if the reply of the lookup was lost: then the lease may not have been granted. */
  readonly generation: string | undefined;
  renew(): Promise<unknown>;
  /** Runs `release-lease.lua` with these arguments from `ARGV[3]` on. */
  release(getArgs: () => readonly (string | number)[]): Promise<unknown>;
  /** Purges the key in every process. */
  broadcastPurge(): Promise<void>;
}

/** A lease in Redis. If it was never granted, or has expired, its methods store nothing. */
export class RedisLease implements Lease {
  readonly #options: LeaseOptions;
  readonly #renewal: NodeJS.Timeout;

  constructor(options: LeaseOptions) {
    this.#options = options;
    // A failed renewal needs no handling: at worst the lease expires and another gateway fetches as well.
    const renew = () => void options.renew().catch(() => {});
    this.#renewal = setInterval(renew, RENEW_INTERVAL_MS).unref();
  }

  async commit(entry: SharedEntry, replacesDocument: boolean): Promise<boolean> {
    const { content, lifetime, ageMs } = entry;
    // Encoded when the script is sent, which is after the response.
    const outcome = await this.#release(() => {
      const record = encodeEntry(this.#options.key, entry);
      const leaderResult = lifetime.freshMs - ageMs > MIN_FRESH_FOR_WAITERS_MS ? '' : record;
      const ttlMs = Math.ceil(maxUsableAgeMs(lifetime) - ageMs);
      return [leaderResult, LEADER_RESULT_TTL_MS, record, Math.floor(ageMs), Math.floor(lifetime.freshMs), ttlMs];
    });
    if (outcome === 'invalidated') return false;
    // Other processes must not serve a document stale that the origin no longer has.
    if (replacesDocument && content.outcome !== 'found') await this.#options.broadcastPurge().catch(() => {});
    return true;
  }

  async release(failure: UpstreamFailure | undefined): Promise<void> {
    await this.#release(() => [failure ? formatFailure(failure) : '', LEADER_RESULT_TTL_MS]);
  }

  async #release(getResult: () => readonly (string | number)[]): Promise<unknown> {
    clearInterval(this.#renewal);
    const { generation = '', release } = this.#options;
    return release(() => [generation, ...getResult()]).catch(() => 'unavailable');
  }
}
