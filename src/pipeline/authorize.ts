import { GatewayError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';

/** Lets keys with the endpoint's permission pass. */
export function authorize(permission: string): (exchange: Pick<Exchange, 'authenticatedKey'>) => void {
  return function authorize(exchange) {
    if (exchange.authenticatedKey.permissions.includes(permission)) return;
    throw new GatewayError('FORBIDDEN', `This key lacks the permission ${permission}.`, { reason: 'permission' });
  };
}
