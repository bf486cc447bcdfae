import type { HeaderList } from '../http/errors.ts';
import type { FailureReason } from '../upstream/failure.ts';

/** Why a request went to the campaign service: nothing was stored, or only something stale. */
export type ForwardReason = 'uri-miss' | 'stale';

/** What the cache did for one request. Times are in milliseconds; `ttlMs` is negative for a stale entry. */
export type CacheOutcome =
  | { readonly outcome: 'hit' | 'stale'; readonly ageMs: number; readonly ttlMs: number }
  | {
      readonly outcome: 'stale_if_error';
      readonly ageMs: number;
      readonly ttlMs: number;
      /** Of the failure in whose place it stands. */
      readonly reason: FailureReason;
      readonly wasForwarded: boolean;
    }
  | { readonly outcome: 'miss' | 'collapsed'; readonly forwardReason: ForwardReason; readonly isStored: boolean }
  | { readonly outcome: 'bypass' };

const NAME = 'campaign-gateway';

/** `Cache-Status` (RFC 9211), and `Age` (RFC 9111, section 5.1) of what came out of the cache. */
export function cacheHeaders(outcome: CacheOutcome): HeaderList {
  const status = ['Cache-Status', `${NAME}; ${formatParameters(outcome)}`];
  return 'ageMs' in outcome ? [...status, 'Age', String(toSeconds(outcome.ageMs))] : status;
}

function formatParameters(outcome: CacheOutcome): string {
  switch (outcome.outcome) {
    case 'hit':
    case 'stale':
      return `hit; ttl=${toSeconds(outcome.ttlMs)}`;
    case 'stale_if_error':
      return `${outcome.wasForwarded ? 'fwd=stale' : 'hit'}; ttl=${toSeconds(outcome.ttlMs)}; detail=${outcome.reason}`;
    case 'miss':
      return `fwd=${outcome.forwardReason}${outcome.isStored ? '; stored' : ''}`;
    case 'collapsed':
      return `fwd=${outcome.forwardReason}${outcome.isStored ? '; stored' : ''}; collapsed`;
    case 'bypass':
      return 'fwd=bypass';
  }
}

function toSeconds(ms: number): number {
  return Math.floor(ms / 1000);
}
