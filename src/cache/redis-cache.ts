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
import {
  LEASE_MS,
  type LeaseScripts,
  RELEASE_IF_UNWATCHED,
  RENEW,
  type RedisKeys,
  RedisLease,
  type Script,
} from './redis-lease.ts';
import { formatGenerationKey, type RedisPurger } from './redis-purger.ts';
import {
  type LookupOptions,
  type LookupResult,
  localLease,
  type SharedCache,
  type SharedEntry,
} from './shared-cache.ts';

export interface RedisCacheOptions {
  readonly redis: RedisClient;
  /** Source of the current epoch: entries of another one are ignored. */
  readonly feed: { readonly epoch: string | undefined };
  readonly purger: RedisPurger;
  readonly policy: CachePolicy;
  /** Timeout of one call to Redis, after which the request continues without the shared cache. */
  readonly timeoutMs?: number;
}

const replySchema = z.union([
  z.tuple([z.enum(['fresh', 'held', 'granted', 'peeked']), z.int(), z.string(), z.string(), z.string()]),
  z.tuple([z.literal('leader_result'), z.string()]),
]);

type LookupReply = z.output<typeof replySchema>;

interface LookupArgs {
  readonly mode: 'initial' | 'poll' | 'skip_stored' | 'peek';
  readonly epoch: string;
  readonly token: string;
  readonly leader: string;
}

/**
 * Entries and leases in Redis, in one hash slot for each account group. Ages are measured by the clock of Redis. An entry
 * that is corrupt or belongs to another key is ignored and overwritten.
 */
export class RedisCache implements SharedCache {
  readonly #options: RedisCacheOptions;
  readonly #runLookup: Script;
  readonly #runPeek: Script;
  readonly #leaseScripts: LeaseScripts;

  constructor({ timeoutMs = 50, ...options }: RedisCacheOptions) {
    this.#options = options;
    const { redis } = options;
    this.#runLookup = redis.defineScript('lookUpEntry', readLua('lookup.lua'), timeoutMs);
    this.#runPeek = redis.defineScript('peekEntry', readLua('lookup.lua'));
    this.#leaseScripts = {
      renew: redis.defineScript('renewLease', RENEW, timeoutMs),
      release: redis.defineScript('releaseLease', readLua('release-lease.lua'), timeoutMs),
      releaseIfUnwatched: redis.defineScript('releaseLeaseIfUnwatched', RELEASE_IF_UNWATCHED, timeoutMs),
    };
  }

  async lookup(key: CacheKey, options: LookupOptions): Promise<LookupResult> {
    const { redis, feed } = this.#options;
    const { epoch } = feed;
    if (epoch === undefined || redis.state === 'down') return { state: 'granted', entry: undefined, lease: localLease };
    const token = createLeaseToken();
    const mode = options.skipStored ? 'skip_stored' : options.leader === undefined ? 'initial' : 'poll';
    try {
      const args = { mode, epoch, token, leader: options.leader ?? token } as const;
      const reply = await this.#run(this.#runLookup, key, args);
      if (reply[0] === 'leader_result') return await this.#parseLeaderResult(reply[1], key, options);
      const [state, , , , detail] = reply;
      const entry = this.#parseEntry(reply, key, options.isValidDocument);
      if (state === 'held') return { state, entry, leader: detail, leaderSpan: parseLeaderSpan(detail) };
      if (state === 'granted') return { state, entry, lease: this.#createLease(key, epoch, token, detail) };
      return entry ? { state: 'fresh', entry } : await this.lookup(key, { ...options, skipStored: true });
    } catch {
      // The reply is late or lost, so the lease may have been granted.
      return { state: 'granted', entry: undefined, lease: this.#createLease(key, epoch, token, undefined) };
    }
  }

  /** Returns the entry at any age and takes no lease. Rejects with `StoreUnavailableError`. */
  async peek(key: CacheKey, isValidDocument: (data: string) => boolean): Promise<SharedEntry | undefined> {
    const { epoch } = this.#options.feed;
    if (epoch === undefined) throw new StoreUnavailableError('the invalidation log cannot be read');
    const reply = await this.#run(this.#runPeek, key, { mode: 'peek', epoch, token: '', leader: '' });
    return reply[0] === 'leader_result' ? undefined : this.#parseEntry(reply, key, isValidDocument);
  }

  async #run(script: Script, key: CacheKey, { mode, epoch, token, leader }: LookupArgs): Promise<LookupReply> {
    const { found, not_found, uncacheable } = this.#options.policy;
    const args = [epoch, token, LEASE_MS, mode, found.freshMs, not_found.freshMs, uncacheable.freshMs];
    return replySchema.parse(await script(this.#formatKeys(key, leader), args));
  }

  #parseEntry(
    [, ageMs, kind, text]: Exclude<LookupReply, ['leader_result', string]>,
    key: CacheKey,
    isValidDocument: (data: string) => boolean,
  ): SharedEntry | undefined {
    if (ageMs < 0) return undefined;
    const record = decodeEntry(text, key, this.#options.policy, isValidDocument);
    return record?.content.outcome === kind ? { ...record, ageMs } : undefined;
  }

  /** A leader leaves the name of a failure, or the record of an entry that would expire too soon. */
  async #parseLeaderResult(text: string, key: CacheKey, { isValidDocument }: LookupOptions): Promise<LookupResult> {
    if (isFailureReason(text)) return { state: 'leader_failed', reason: text };
    const record = decodeEntry(text, key, this.#options.policy, isValidDocument);
    if (record && record.content.outcome !== 'uncacheable') return { state: 'leader_result', result: record.content };
    return this.lookup(key, { isValidDocument });
  }

  #createLease(key: CacheKey, epoch: string, token: string, generation: string | undefined): RedisLease {
    const { redis, purger } = this.#options;
    return new RedisLease({
      key,
      redisKeys: this.#formatKeys(key, token),
      epoch,
      token,
      generation,
      scripts: this.#leaseScripts,
      isRedisDown: () => redis.state === 'down',
      broadcastPurge: () => purger.broadcast(key),
    });
  }

  #formatKeys(key: CacheKey, leader: string): RedisKeys {
    const entry = `{cache:${key.accountGroupId}}:${key.path}`;
    const group = formatGenerationKey({ accountGroupId: key.accountGroupId, documentId: undefined });
    const prefixed = (name: string) => this.#options.redis.key(name);
    return [
      prefixed(entry),
      prefixed(`${entry}:lease`),
      prefixed(group),
      prefixed(formatGenerationKey(key)),
      prefixed(`${entry}:result:${leader}`),
    ];
  }
}

/** The token carries the span of the fetch, so that waiters can link to it. */
function createLeaseToken(): string {
  const span = serializeActiveSpan();
  return span === undefined ? randomHex(8) : `${randomHex(8)}/${span}`;
}

function parseLeaderSpan(token: string): ReturnType<typeof parseSpanContext> {
  return parseSpanContext(token.split('/')[1] ?? '');
}

function readLua(file: string): string {
  return readFileSync(new URL(file, import.meta.url), 'utf8');
}
