import { GatewayError } from '../errors.ts';
import type { Stage } from './pipeline.ts';

/** Ends a request whose path no endpoint has. */
export const noSuchPath: Stage = function noSuchPath() {
  throw new GatewayError('NOT_FOUND', 'There is nothing at this path.', { reason: 'route' });
};

/** Ends a request to an endpoint's path by another method. */
export const methodNotAllowed: Stage = function methodNotAllowed() {
  throw new GatewayError('METHOD_NOT_ALLOWED', 'Use GET or HEAD.', {
    reason: 'method',
    headers: ['Allow', 'GET, HEAD'],
  });
};
