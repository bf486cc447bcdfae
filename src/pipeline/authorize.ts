import { GatewayError } from '../errors.ts';
import type { Stage } from './pipeline.ts';

/** Lets keys with the endpoint's permission pass. */
export function authorize(permission: string): Stage {
  return function authorize(exchange) {
    if (exchange.authenticatedKey.permissions.includes(permission)) return;
    throw new GatewayError('FORBIDDEN', `This key lacks the permission ${permission}.`, { reason: 'permission' });
  };
}
