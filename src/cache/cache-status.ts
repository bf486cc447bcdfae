import type { HeaderList } from '../errors.ts';
import type { FailureReason } from '../upstream/failure.ts';

/** Why a request went to the campaign service: nothing was stored, or only something stale. */
export type Forwarded = 'uri-miss' | 'stale';

/** What the cache did for one request. Times are in milliseconds; `ttlMs` is negative for a stale entry. */
export type CacheReport =
  | { readonly outcome: 'hit' | 'stale'; readonly ageMs: number; readonly ttlMs: number }
  | {
      readonly outcome: 'stale_if_error';
      readonly ageMs: number;
      readonly ttlMs: number;
      /** Of the failure in whose place it stands. */
      readonly reason: FailureReason;
      readonly wasForwarded: boolean;
    }
  | { readonly outcome: 'miss' | 'collapsed'; readonly forwarded: Forwarded; readonly isStored: boolean }
  | { readonly outcome: 'bypass' };

const NAME = 'campaign-gateway';

/** `Cache-Status` (RFC 9211), and `Age` (RFC 9111, section 5.1) of what came out of the cache. */
export function cacheHeaders(report: CacheReport): HeaderList {
  const status = ['Cache-Status', `${NAME}; ${formatParameters(report)}`];
  return 'ageMs' in report ? [...status, 'Age', String(seconds(report.ageMs))] : status;
}

function formatParameters(report: CacheReport): string {
  switch (report.outcome) {
    case 'hit':
    case 'stale':
      return `hit; ttl=${seconds(report.ttlMs)}`;
    case 'stale_if_error':
      return `${report.wasForwarded ? 'fwd=stale' : 'hit'}; ttl=${seconds(report.ttlMs)}; detail=${report.reason}`;
    case 'miss':
      return `fwd=${report.forwarded}${report.isStored ? '; stored' : ''}`;
    case 'collapsed':
      return `fwd=${report.forwarded}${report.isStored ? '; stored' : ''}; collapsed`;
    case 'bypass':
      return 'fwd=bypass';
  }
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
