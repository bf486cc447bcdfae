import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { RedisClient } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { randomHex } from '../telemetry/trace-context.ts';
import { parseSpanContext, serializeActiveSpan } from '../telemetry/tracing.ts';
import { isFailureReason } from '../upstream/failure.ts';
import type { CacheKey } from './entry.ts';
import { decodeEntry } from './entry-codec.ts';
import type { CachePolicy } from './freshness.ts';
import type { InvalidationFeed } from './invalidation-feed.ts';
import { LEASE_MS, RELEASE_IF_UNWATCHED, RENEW, RedisLease } from './redis-lease.ts';
import { generationKeys, type RedisPurger } from './redis-purger.ts';
import {
  type Lease,
  type LookupOptions,
  type LookupResult,
  localLease,
  type SharedCache,
  type SharedEntry,
} from './shared-cache.ts';

const lua = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8');

const replySchema = z.union([
  z.tuple([z.enum(['fresh', 'held', 'granted', 'seen']), z.int(), z.string(), z.string(), z.string()]),
  z.tuple([z.literal('noted'), z.string()]),
]);

type CacheKeys = readonly [entry: string, lease: string, group: string, campaign: string, note: string];
/** It tells the others in whose trace the campaign service is asked, where that is recorded. */
function newLeaseToken(): string {
  const span = serializeActiveSpan();
  return span === undefined ? randomHex(8) : `${randomHex(8)}/${span}`;
}

interface LookupArgs {
  readonly key: CacheKey;
  readonly epoch: string;
  readonly token: string;
  readonly leaderToken: string;
}

type Script = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

/**
 * Entries and leases in Redis, in one slot an account group. Ages are by Redis' clock, whatever the gateways' own say. An
 * entry that is damaged, of another key or of another form counts as none and is written over.
 */
export class RedisCache implements SharedCache {
  readonly #redis: RedisClient;
  readonly #feed: InvalidationFeed;
  readonly #purges: RedisPurger;
  readonly #policy: CachePolicy;
  readonly #lookUp: Script;
  readonly #peek: Script;
  readonly #scripts: { readonly renew: Script; readonly end: Script; readonly releaseIfUnwatched: Script };

  constructor(redis: RedisClient, feed: InvalidationFeed, purges: RedisPurger, policy: CachePolicy, timeoutMs = 50) {
    this.#redis = redis;
    this.#feed = feed;
    this.#purges = purges;
    this.#policy = policy;
    this.#lookUp = redis.defineScript('lookUpEntry', lua('lookup.lua'), timeoutMs);
    this.#peek = redis.defineScript('peekEntry', lua('lookup.lua'));
    this.#scripts = {
      renew: redis.defineScript('renewLease', RENEW, timeoutMs),
      end: redis.defineScript('endLease', lua('release-lease.lua'), timeoutMs),
      releaseIfUnwatched: redis.defineScript('abandonLease', RELEASE_IF_UNWATCHED, timeoutMs),
    };
  }

  async lookup(key: CacheKey, options: LookupOptions): Promise<LookupResult> {
    const { epoch } = this.#feed;
    if (epoch === undefined || this.#redis.state === 'down') {
      return { state: 'granted', entry: undefined, lease: localLease };
    }
    const token = newLeaseToken();
    const lease = (generation?: string) => this.#lease(key, epoch, token, generation);
    const mode = options.skipStored ? 'anew' : options.leader === undefined ? 'first' : 'waiting';
    try {
      const reply = await this.#runLookup(this.#lookUp, mode, {
        key,
        epoch,
        token,
        leaderToken: options.leader ?? token,
      });
      if (reply[0] === 'noted') return this.#parseLeaderResult(reply[1], key, options);
      const [state, ageMs, kind, text, detail] = reply;
      const entry = ageMs < 0 ? undefined : this.#parseEntry(text, ageMs, kind, key, options);
      if (state === 'held')
        return { state, entry, leader: detail, leaderSpan: parseSpanContext(detail.split('/')[1] ?? '') };
      if (state === 'granted') return { state, entry, lease: lease(detail) };
      return entry && state === 'fresh' ? { state, entry } : await this.lookup(key, { ...options, skipStored: true });
    } catch {
      // Too late, and perhaps given all the same.
      return { state: 'granted', entry: undefined, lease: lease() };
    }
  }

  /** The entry, whatever its age, without asking for a lease. Rejects with `StoreUnavailable`. */
  async peek(key: CacheKey, isValidDocument: (data: string) => boolean): Promise<SharedEntry | undefined> {
    const { epoch } = this.#feed;
    if (epoch === undefined) throw new StoreUnavailableError('the log of changes cannot be read');
    const reply = await this.#runLookup(this.#peek, 'peek', { key, epoch, token: '', leaderToken: '' });
    if (reply[0] === 'noted') return undefined;
    const [, ageMs, kind, text] = reply;
    return ageMs < 0 ? undefined : this.#parseEntry(text, ageMs, kind, key, { isValidDocument: isValidDocument });
  }

  async #runLookup(
    run: Script,
    mode: string,
    { key, epoch, token, leaderToken }: LookupArgs,
  ): Promise<z.output<typeof replySchema>> {
    const { found, not_found, uncacheable } = this.#policy;
    const args = [epoch, token, LEASE_MS, mode, found.freshMs, not_found.freshMs, uncacheable.freshMs];
    return replySchema.parse(await run(this.#keys(key, leaderToken), args));
  }

  #parseEntry(text: string, ageMs: number, kind: string, key: CacheKey, { isValidDocument }: LookupOptions) {
    const record = decodeEntry(text, key, this.#policy, isValidDocument);
    return record?.content.outcome === kind ? { ...record, ageMs } : undefined;
  }

  /** A note is the name of a failure, or the record of an answer that is not kept. */
  #parseLeaderResult(note: string, key: CacheKey, options: LookupOptions): LookupResult | Promise<LookupResult> {
    if (isFailureReason(note)) return { state: 'failed', reason: note };
    const record = decodeEntry(note, key, this.#policy, options.isValidDocument);
    if (record && record.content.outcome !== 'uncacheable') return { state: 'unkept', result: record.content };
    return this.lookup(key, { isValidDocument: options.isValidDocument });
  }

  #lease(key: CacheKey, epoch: string, token: string, generation: string | undefined): Lease {
    const names = this.#keys(key, token);
    return new RedisLease({
      key,
      keys: names,
      epoch,
      token,
      generation,
      scripts: this.#scripts,
      isRedisDown: () => this.#redis.state === 'down',
      broadcastPurge: () => this.#purges.broadcast(key),
    });
  }

  #keys(key: CacheKey, leaderToken: string): CacheKeys {
    const { group, campaign } = generationKeys(key);
    const entry = `{cache:${key.accountGroupId}}:${key.path}`;
    const name = (short: string) => this.#redis.key(short);
    return [name(entry), name(`${entry}:lease`), name(group), name(campaign), name(`${entry}:note:${leaderToken}`)];
  }
}
