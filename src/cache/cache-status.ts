import type { HeaderList } from '../http/errors.ts';
import type { FailureReason } from '../upstream/failure.ts';
import type { NotStoredReason } from './freshness.ts';

/** Why a request was forwarded to the origin: nothing was stored, or only a stale entry. */
type ForwardReason = 'uri-miss' | 'stale';

/** What the cache did for one request. `ttlMs` is negative for a stale entry. */
export type CacheOutcome =
  | { readonly outcome: 'hit' | 'stale'; readonly ageMs: number; readonly ttlMs: number }
  | {
      readonly outcome: 'stale_if_error';
      readonly ageMs: number;
      readonly ttlMs: number;
      /** The failure that the stale entry hides. */
      readonly reason: FailureReason;
      /** False if the origin was not contacted: a recent failure, an open circuit, or a full queue. */
      readonly wasForwarded: boolean;
    }
  | {
      readonly outcome: 'miss' | 'collapsed';
      readonly forwardReason: ForwardReason;
      readonly isStored: boolean;
      readonly notStoredReason?: NotStoredReason | undefined;
    }
  | { readonly outcome: 'bypass'; readonly notStoredReason?: NotStoredReason | undefined };

const CACHE_NAME = 'campaign-gateway';

/** `Cache-Status` (RFC 9211), and `Age` (RFC 9111, section 5.1) for a cached response. */
export function cacheHeaders(outcome: CacheOutcome): HeaderList {
  const status = ['Cache-Status', `${CACHE_NAME}; ${formatParameters(outcome)}`];
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
      return `fwd=${outcome.forwardReason}${outcome.isStored ? '; stored' : ''}${formatDetail(outcome)}`;
    case 'collapsed':
      return `fwd=${outcome.forwardReason}${outcome.isStored ? '; stored' : ''}; collapsed${formatDetail(outcome)}`;
    case 'bypass':
      return `fwd=bypass${formatDetail(outcome)}`;
  }
}

function formatDetail({ notStoredReason }: { readonly notStoredReason?: NotStoredReason | undefined }): string {
  return notStoredReason === undefined ? '' : `; detail=${notStoredReason}`;
}

function toSeconds(ms: number): number {
  return Math.floor(ms / 1000);
}
