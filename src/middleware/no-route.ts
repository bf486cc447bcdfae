import { GatewayError } from '../http/errors.ts';

/** Ends a request whose path no route matches. */
export function routeNotFound(): never {
  throw new GatewayError('NOT_FOUND', 'No route matches this path.', { reason: 'route' });
}

/** Ends a request to a route's path with another method. */
export function methodNotAllowed(): never {
  throw new GatewayError('METHOD_NOT_ALLOWED', 'Use GET or HEAD.', {
    reason: 'method',
    headers: ['Allow', 'GET, HEAD'],
  });
}
