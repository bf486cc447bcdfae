import type { FailureReason, UpstreamFailure } from '../upstream/failure.ts';
import type { ReadResult } from '../upstream/origin.ts';
import type { CacheOutcome } from './cache-status.ts';
import type { Entry } from './entry.ts';

export type CacheResult = { readonly outcome: CacheOutcome } & (
  | { readonly result: ReadResult }
  | { readonly failure: UpstreamFailure }
);

/** The result of an entry, which may hide a failure of the origin. Undefined for a hit-for-miss marker. */
export function fromEntry(
  { content, lifetime }: Entry,
  ageMs: number,
  hiddenFailure?: { readonly reason: FailureReason; readonly wasForwarded: boolean },
): CacheResult | undefined {
  if (content.outcome === 'uncacheable') return undefined;
  const ttlMs = lifetime.freshMs - ageMs;
  const outcome: CacheOutcome = hiddenFailure
    ? { outcome: 'stale_if_error', ageMs, ttlMs, ...hiddenFailure }
    : { outcome: ttlMs > 0 ? 'hit' : 'stale', ageMs, ttlMs };
  return { result: content, outcome };
}

/** The result for a reader that did not start the request to the origin. */
export function toCollapsed(cacheResult: CacheResult): CacheResult {
  const { outcome } = cacheResult;
  return outcome.outcome === 'miss' ? { ...cacheResult, outcome: { ...outcome, outcome: 'collapsed' } } : cacheResult;
}
