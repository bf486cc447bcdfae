import { readFileSync } from 'node:fs';
import type { BatchedScript } from '../redis/batched-script.ts';
import type { RedisClient } from '../redis/client.ts';
import { StoreUnavailableError } from '../redis/store-errors.ts';
import { randomHex } from '../telemetry/trace-context.ts';
import { parseSpanContext, serializeActiveSpan } from '../telemetry/tracing.ts';
import { parseFailure } from '../upstream/failure.ts';
import type { CacheKey } from './entry.ts';
import { decodeEntry } from './entry-codec.ts';
import type { CachePolicy } from './freshness.ts';
import type { RedisInvalidationLog } from './redis-invalidation-log.ts';
import { formatGenerationKey } from './redis-invalidator.ts';
import { LEASE_MS, RedisLease } from './redis-lease.ts';
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
  readonly invalidations: Pick<RedisInvalidationLog, 'epoch' | 'append'>;
  readonly policy: CachePolicy;
  /** Timeout of one call to Redis, after which the request continues without the shared cache. */
  readonly timeoutMs: number;
}

const RENEW = `
if redis.pcall('HGET', KEYS[2], 'token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[2], ARGV[2])`;

/** See `lookup.lua`. */
type EntryReply = [
  state: 'fresh' | 'held' | 'granted' | 'peeked',
  ageMs: number,
  record: string,
  detail: string,
  freshMs: number,
];
type LookupReply = EntryReply | [state: 'leader_result', result: string];

interface RequestedLease {
  readonly key: CacheKey;
  readonly keys: readonly string[];
  readonly epoch: string;
  readonly token: string;
}

/**
 * Entries and leases in Redis, in one hash slot for each account group. Ages are measured by the clock of Redis. An entry
 * that is corrupt or belongs to another key is ignored and overwritten.
 */
export class RedisCache implements SharedCache {
  readonly #options: RedisCacheOptions;
  readonly #lookup: BatchedScript;
  readonly #renew: BatchedScript;
  readonly #release: BatchedScript;

  constructor(options: RedisCacheOptions) {
    this.#options = options;
    const { redis, timeoutMs } = options;
    this.#lookup = redis.defineBatchedScript('lookUpEntry', readLua('lookup.lua'), timeoutMs);
    this.#renew = redis.defineBatchedScript('renewLease', RENEW, timeoutMs);
    this.#release = redis.defineBatchedScript('releaseLease', readLua('release-lease.lua'), timeoutMs);
  }

  async lookup(key: CacheKey, options: LookupOptions): Promise<LookupResult> {
    const { redis, invalidations } = this.#options;
    const { epoch } = invalidations;
    if (epoch === undefined || redis.state === 'down') return { state: 'granted', entry: undefined, lease: localLease };
    const token = createLeaseToken();
    const keys = this.#formatKeys(key, options.leader ?? token);
    const lease = { key, keys: options.leader === undefined ? keys : this.#formatKeys(key, token), epoch, token };
    try {
      const mode = options.skipStored ? 'skip_stored' : options.leader === undefined ? 'initial' : 'poll';
      const reply = (await this.#lookup(keys, () => [epoch, token, LEASE_MS, mode])) as LookupReply;
      if (reply[0] === 'leader_result') return await this.#parseLeaderResult(reply[1], key, options);
      const [state, , , detail] = reply;
      const entry = this.#parseEntry(reply, key, options.isValidDocument);
      if (state === 'held') return { state, entry, leader: detail, leaderSpan: parseLeaderSpan(detail) };
      if (state === 'granted') return { state, entry, lease: this.#createLease(lease, detail) };
      if (entry && entry.ageMs < entry.lifetime.freshMs) return { state: 'fresh', entry };
      // The entry is corrupt, or too old for the settings of this gateway.
      const lookup = await this.lookup(key, { ...options, skipStored: true });
      return lookup.state === 'granted' || lookup.state === 'held' ? { ...lookup, entry } : lookup;
    } catch {
      // The reply is late or lost, so the lease may have been granted.
      return { state: 'granted', entry: undefined, lease: this.#createLease(lease, undefined) };
    }
  }

  /** Returns the entry at any age and takes no lease. Rejects with `StoreUnavailableError`. */
  async peek(key: CacheKey, isValidDocument: (data: string) => boolean): Promise<SharedEntry | undefined> {
    const { epoch } = this.#options.invalidations;
    if (epoch === undefined) throw new StoreUnavailableError('the invalidation log cannot be read');
    const reply = await this.#lookup(this.#formatKeys(key, ''), () => [epoch, '', LEASE_MS, 'peek']);
    return this.#parseEntry(reply as EntryReply, key, isValidDocument);
  }

  #parseEntry(
    [, ageMs, record, , freshMs]: EntryReply,
    key: CacheKey,
    isValidDocument: (data: string) => boolean,
  ): SharedEntry | undefined {
    const entry = ageMs < 0 ? undefined : decodeEntry(record, key, this.#options.policy, isValidDocument);
    if (!entry) return undefined;
    const { lifetime, content } = entry;
    return { content, lifetime: { ...lifetime, freshMs: Math.min(lifetime.freshMs, freshMs) }, ageMs };
  }

  /** A leader leaves a failure, or the record of an entry that would expire too soon. */
  async #parseLeaderResult(text: string, key: CacheKey, { isValidDocument }: LookupOptions): Promise<LookupResult> {
    const failure = parseFailure(text);
    if (failure) return { state: 'leader_failed', failure };
    const entry = decodeEntry(text, key, this.#options.policy, isValidDocument);
    if (entry && entry.content.outcome !== 'uncacheable') return { state: 'leader_result', result: entry.content };
    return this.lookup(key, { isValidDocument });
  }

  #createLease({ key, keys, epoch, token }: RequestedLease, generation: string | undefined): RedisLease {
    const { invalidations } = this.#options;
    return new RedisLease({
      key,
      generation,
      renew: () => this.#renew(keys, () => [token, LEASE_MS]),
      release: (getArgs) => this.#release(keys, () => [epoch, token, ...getArgs()]),
      broadcastPurge: () => invalidations.append([{ kind: 'cache', mode: 'hard', ...key }]),
    });
  }

  #formatKeys(key: CacheKey, leader: string): string[] {
    const entry = `{cache:${key.accountGroupId}}:${key.path}`;
    const group = { accountGroupId: key.accountGroupId, documentId: undefined };
    const generations = [formatGenerationKey(group), formatGenerationKey(key)];
    const names = [entry, `${entry}:lease`, `${entry}:result:${leader}`, ...generations];
    return names.map((name) => this.#options.redis.key(name));
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
