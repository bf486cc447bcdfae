import { GatewayError } from '../http/errors.ts';

export function overloadedError(retryAfterSeconds: number): GatewayError {
  return new GatewayError('OVERLOADED', 'Retry after the delay given in Retry-After.', {
    reason: 'event_loop',
    headers: ['Retry-After', String(retryAfterSeconds)],
  });
}

/** Created once: an error captures its stack, which costs a tenth of a rejection. */
const overloadedErrors = [1, 2, 3].map(overloadedError);

/** Jitters `Retry-After`, so that clients rejected together do not retry together. */
export function pickOverloadedError(): GatewayError {
  return overloadedErrors[Math.floor(Math.random() * overloadedErrors.length)] as GatewayError;
}
