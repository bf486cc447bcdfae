import { GatewayError } from '../http/errors.ts';

/** Random within 1–3 s, so that clients rejected together do not return together. */
export function randomRetryAfterSeconds(): number {
  return 1 + Math.floor(Math.random() * 3);
}

export function overloadedError(retryAfterSeconds: number): GatewayError {
  return new GatewayError('OVERLOADED', 'Retry after the delay given in Retry-After.', {
    reason: 'event_loop',
    headers: ['Retry-After', String(retryAfterSeconds)],
  });
}
