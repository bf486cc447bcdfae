/**
 * The delay before attempt `attempt`, counted from 1: it doubles from `minMs` to `maxMs`. Up to half of it is random, so that
 * clients that lost the same server do not return at the same time.
 */
export function backOff(attempt: number, minMs: number, maxMs: number): number {
  const delayMs = Math.min(minMs * 2 ** Math.min(attempt - 1, 30), maxMs);
  return Math.round(delayMs * (1 - Math.random() / 2));
}
