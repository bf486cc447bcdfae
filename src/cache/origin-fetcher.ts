import { SpanKind } from '@opentelemetry/api';
import { endSpan, startSpan, withSpan } from '../telemetry/tracing.ts';
import { AbortedError, type FailureReason, getErrorType, UpstreamFailure } from '../upstream/failure.ts';
import type { OriginResponse } from '../upstream/origin.ts';
import type { Entry } from './entry.ts';
import { type CachePolicy, decideStorage, maxUsableAgeMs } from './freshness.ts';
import type { LocalCache } from './local-cache.ts';
import { type Lease, type SharedEntry, toLocalEntry } from './shared-cache.ts';
import type { SharedFetch } from './shared-fetch.ts';

export interface OriginFetcherOptions {
  readonly policy: CachePolicy;
  /** Timeout of a fetch from the origin. */
  readonly timeoutMs: number;
  /** Jitter: returns a number from 0 to 1. */
  readonly random: () => number;
}

/** Fetches from the origin under a lease, and stores the result locally and for all gateways. */
export class OriginFetcher {
  readonly #local: LocalCache;
  readonly #options: OriginFetcherOptions;

  constructor(local: LocalCache, options: OriginFetcherOptions) {
    this.#local = local;
    this.#options = options;
  }

  /** `stale` is the entry to serve if the fetch fails. Rejects only on a bug. */
  async fetch(fetch: SharedFetch, lease: Lease, stale: Entry | undefined): Promise<void> {
    fetch.lease = lease;
    fetch.span = startSpan('fetch', SpanKind.INTERNAL);
    const startedAt = this.#local.now();
    try {
      if (fetch.signal.aborted) throw new AbortedError();
      // The full timeout, however long this gateway has waited for a leader.
      const deadlineAt = performance.now() + this.#options.timeoutMs;
      const response = await withSpan(fetch.span, () => fetch.origin.fetch(fetch.signal, deadlineAt));
      endSpan(fetch.span, { outcome: response.result.outcome });
      await this.#store(fetch, response, stale, this.#local.now() - startedAt);
    } catch (error) {
      const failure = error instanceof UpstreamFailure ? error : undefined;
      endSpan(fetch.span, {}, failure ? getErrorType(failure) : 'internal');
      if (failure) this.#recordFailure(fetch, failure, stale, this.#local.now() - startedAt);
      await lease.release(failure && isOriginFailure(failure) ? failure.reason : undefined);
      if (!failure) throw error;
    }
  }

  #recordFailure(fetch: SharedFetch, failure: UpstreamFailure, stale: Entry | undefined, durationMs: number): void {
    if (stale) {
      this.#local.recordRefreshFailure(stale, failure, durationMs);
      this.#local.store(fetch.key, stale);
    }
    fetch.resolve({ kind: 'failed', failure, stale });
  }

  async #store(
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
    const entry = toLocalEntry(shared, fetch.generation, this.#local.now());
    const isStoredLocally = this.#local.store(fetch.key, entry);
    const isStored = isStoredLocally || (isUsable && fetch.lease.isDistributed);
    const forwardReason = stale ? 'stale' : 'uri-miss';
    // Before the commit: readers do not wait for Redis.
    fetch.resolve(
      decision.storable
        ? { kind: 'fetched', forwardReason, result, isStored, isCollapsed: false }
        : { kind: 'uncacheable', forwardReason, result },
    );
    const isCurrent = await fetch.lease.commit(shared, stale?.content.outcome === 'found');
    if (!isCurrent) this.#local.deleteIfCurrent(fetch.key, entry);
  }
}

/** Failures of the origin itself. DNS, connection, circuit and queue failures concern only the gateway that has them. */
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
