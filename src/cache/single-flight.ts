import { setTimeout as pause } from 'node:timers/promises';
import { SpanKind } from '@opentelemetry/api';
import { endSpan, startSpan, withChildSpan } from '../telemetry/tracing.ts';
import { AbortedError, type FailureReason, getErrorType, UpstreamFailure } from '../upstream/failure.ts';
import type { Origin, OriginResponse, ReadResult } from '../upstream/origin.ts';
import type { CacheKey, Entry } from './entry.ts';
import { type CachePolicy, decideStorage, maxUsableAgeMs } from './freshness.ts';
import type { LocalCache } from './local-cache.ts';
import type { Lease, LookupOptions, SharedCache, SharedEntry } from './shared-cache.ts';
import { type FetchResult, SharedFetch } from './shared-fetch.ts';

export interface SingleFlightOptions {
  readonly policy: CachePolicy;
  /** How long the campaign service may take. */
  readonly timeoutMs: number;
  readonly shared: SharedCache;
  readonly random: () => number;
}

/** A wait for another gateway grows by no more than this share, for how often it is asked. */
const POLL_BACKOFF = 1 / 8;
const MIN_POLL_MS = 4;
const MAX_POLL_MS = 100;
/** So much longer than its own patience a gateway waits for the end of another one's, whatever it comes to. */
const LEADER_GRACE_MS = 1000;

/** The reads under way, one a document. */
export class SingleFlight {
  readonly #options: SingleFlightOptions;
  readonly #local: LocalCache;
  readonly #inFlight = new Map<string, SharedFetch>();

  constructor(local: LocalCache, options: SingleFlightOptions) {
    this.#local = local;
    this.#options = options;
  }

  /** The flight under way that a reader who comes now may join: one that began after the last purge and has not landed. */
  findJoinable(key: CacheKey): SharedFetch | undefined {
    const fetch = this.#current(key);
    return fetch?.isSettled ? undefined : fetch;
  }

  /** For a reader. */
  start(key: CacheKey, origin: Origin): SharedFetch {
    return this.#start(key, origin, false);
  }

  /** For the cache itself, unless there is one under way. */
  refresh(key: CacheKey, origin: Origin): void {
    if (!this.#current(key)) this.#start(key, origin, true);
  }

  #current(key: CacheKey): SharedFetch | undefined {
    const fetch = this.#inFlight.get(key.path);
    return fetch && !this.#local.isPurged(key, fetch.generation) ? fetch : undefined;
  }

  #start(key: CacheKey, origin: Origin, isBackground: boolean): SharedFetch {
    const end = () => {
      if (this.#inFlight.get(key.path) === fetch) this.#inFlight.delete(key.path);
    };
    const fetch = new SharedFetch(this.#local.generation, isBackground, () => {
      end();
      return this.#abortWhenUnneeded(fetch);
    });
    this.#inFlight.set(key.path, fetch);
    this.#run(key, fetch, origin)
      .catch((error) => fetch.fail(error))
      .finally(end);
    return fetch;
  }

  /** Ends an exchange that no reader waits for, here or elsewhere, as soon as that is so. */
  async #abortWhenUnneeded(fetch: SharedFetch): Promise<void> {
    while (!fetch.isSettled) {
      if (await fetch.lease.releaseIfUnwatched()) return fetch.abort();
      await pause(MAX_POLL_MS);
    }
  }

  /** Looks where all gateways keep theirs, waits for one that is asking already, or asks. */
  async #run(key: CacheKey, fetch: SharedFetch, origin: Origin): Promise<void> {
    const startedAt = performance.now();
    const { isValidDocument: isOwn } = origin;
    let local = withoutUncacheable(this.#local.get(key));
    let options: LookupOptions = { isValidDocument: isOwn };
    while (!fetch.signal.aborted) {
      const lookup = await this.#options.shared.lookup(key, options);
      switch (lookup.state) {
        case 'fresh': {
          const entry = this.#toLocalEntry(lookup.entry, fetch);
          if (!this.#isOlderThanLocal(entry, local)) {
            return this.#resolveWith(key, fetch, entry, local, options.leader !== undefined);
          }
          options = { isValidDocument: isOwn, skipStored: true };
          break;
        }
        case 'granted':
          local = this.#serveStaleIfAllowed(key, fetch, local, lookup.entry);
          return this.#fetchFromOrigin(key, fetch, origin, lookup.lease, local);
        case 'held':
          local = this.#serveStaleIfAllowed(key, fetch, local, lookup.entry);
          if (fetch.isSettled) return; // The other one will refresh it for all.
          if (!(await this.#waitForLeader(startedAt))) return this.#fail(fetch, local, 'timeout');
          options = { isValidDocument: isOwn, leader: lookup.leader };
          fetch.leaderSpan = lookup.leaderSpan;
          break;
        case 'failed':
          return this.#fail(fetch, local, lookup.reason);
        case 'unkept':
          return fetch.resolve(collapsedResult(local, lookup.result, false));
      }
    }
  }

  /** False when there has been enough of it. */
  async #waitForLeader(startedAt: number): Promise<boolean> {
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > this.#options.timeoutMs + LEADER_GRACE_MS) return false;
    await pause(Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, waitedMs * POLL_BACKOFF)));
    return true;
  }

  /** Gives the younger of what this process had and what all have. Where it may be served while it is refreshed, it is. */
  #serveStaleIfAllowed(
    key: CacheKey,
    fetch: SharedFetch,
    local: Entry | undefined,
    shared: SharedEntry | undefined,
  ): Entry | undefined {
    const entry = newer(local, withoutUncacheable(shared && this.#toLocalEntry(shared, fetch)));
    if (entry && this.#local.freshnessOf(entry) === 'stale_while_revalidate') {
      this.#resolveWith(key, fetch, entry, undefined, false);
    }
    return entry;
  }

  /** What all have is fresh, and yet this process has had something newer, which is not. */
  #isOlderThanLocal(stored: Entry, local: Entry | undefined): boolean {
    return (
      local !== undefined && local.originatedAt > stored.originatedAt && this.#local.freshnessOf(local) !== 'fresh'
    );
  }

  #resolveWith(
    key: CacheKey,
    fetch: SharedFetch,
    entry: Entry,
    local: Entry | undefined,
    waitedForLeader: boolean,
  ): void {
    const isStored = this.#local.store(key, entry);
    const { content } = entry;
    if (content.outcome === 'uncacheable') {
      fetch.resolve({ kind: 'uncacheable', forwardReason: 'uri-miss', result: undefined });
    } else {
      fetch.resolve(waitedForLeader ? collapsedResult(local, content, isStored) : { kind: 'shared', entry });
    }
  }

  /** As another gateway has failed, or for want of its answer. */
  #fail(fetch: SharedFetch, stale: Entry | undefined, reason: FailureReason): void {
    fetch.resolve({ kind: 'failed', failure: new UpstreamFailure(reason, 'asked by another gateway'), stale });
  }

  async #fetchFromOrigin(
    key: CacheKey,
    fetch: SharedFetch,
    origin: Origin,
    lease: Lease,
    stale: Entry | undefined,
  ): Promise<void> {
    fetch.lease = lease;
    fetch.span = startSpan('fetch', SpanKind.INTERNAL);
    const fetchStartedAt = this.#local.now();
    try {
      if (fetch.signal.aborted) throw new AbortedError();
      // Whoever asks has the whole time for it, however long it has waited for another one.
      const deadlineAt = performance.now() + this.#options.timeoutMs;
      const response = await withChildSpan(fetch.span, () => origin.fetch(fetch.signal, deadlineAt));
      endSpan(fetch.span, { outcome: response.result.outcome });
      await this.#storeResult(key, fetch, response, stale, this.#local.now() - fetchStartedAt);
    } catch (error) {
      endSpan(fetch.span, {}, error instanceof UpstreamFailure ? getErrorType(error) : 'internal');
      const failure = error instanceof UpstreamFailure ? error : undefined;
      void lease.release(failure && isOriginFailure(failure) ? failure.reason : undefined);
      if (!failure) throw error;
      if (stale) {
        this.#local.recordRefreshFailure(stale, failure, this.#local.now() - fetchStartedAt);
        this.#local.store(key, stale);
      }
      fetch.resolve({ kind: 'failed', failure, stale });
    }
  }

  /** Keeps an answer, as far as it lets itself be kept, here and for all. */
  async #storeResult(
    key: CacheKey,
    fetch: SharedFetch,
    { result, headers }: OriginResponse,
    stale: Entry | undefined,
    delayMs: number,
  ): Promise<void> {
    const { policy, random } = this.#options;
    const decision = decideStorage(headers, { ceiling: policy[result.outcome], delayMs, random });
    const shared: SharedEntry = decision.storable
      ? { content: result, lifetime: decision.lifetime, ageMs: decision.ageMs }
      : { content: { outcome: 'uncacheable' }, lifetime: policy.uncacheable, ageMs: 0 };
    const isUsable = maxUsableAgeMs(shared.lifetime) > shared.ageMs;
    const entry = this.#toLocalEntry(shared, fetch);
    const isCached = this.#local.store(key, entry);
    const isStored = isCached || (isUsable && fetch.lease.isDistributed);
    const forwarded = stale ? 'stale' : 'uri-miss';
    fetch.resolve(
      decision.storable
        ? { kind: 'fetched', forwardReason: forwarded, result, isStored, isCollapsed: false }
        : { kind: 'uncacheable', forwardReason: forwarded, result },
    );
    const isCurrent = await fetch.lease.commit(shared, stale?.content.outcome === 'found');
    if (!isCurrent) this.#local.deleteIfCurrent(key, entry);
  }

  #toLocalEntry({ content, lifetime, ageMs }: SharedEntry, { generation }: SharedFetch): Entry {
    return { content, lifetime, originatedAt: this.#local.now() - ageMs, purgeGeneration: generation };
  }
}

/** What the service itself came to holds for all gateways; the way to it, the circuit and the queue are each one's own. */
const ORIGIN_FAILURES: ReadonlySet<FailureReason> = new Set([
  'timeout',
  'reset',
  'truncated',
  'status',
  'too_large',
  'not_json',
  'invalid_document',
]);

function isOriginFailure(failure: UpstreamFailure): boolean {
  return ORIGIN_FAILURES.has(failure.reason) && !(failure instanceof AbortedError);
}

/** That an answer was not to be kept is no stale document. */
function withoutUncacheable(entry: Entry | undefined): Entry | undefined {
  return entry?.content.outcome === 'uncacheable' ? undefined : entry;
}

function newer(a: Entry | undefined, b: Entry | undefined): Entry | undefined {
  return a && b && a.originatedAt > b.originatedAt ? a : (b ?? a);
}

function collapsedResult(local: Entry | undefined, result: ReadResult, isStored: boolean): FetchResult {
  return { kind: 'fetched', forwardReason: local ? 'stale' : 'uri-miss', result, isStored, isCollapsed: true };
}
