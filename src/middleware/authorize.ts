import { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';

/** Lets keys with the endpoint's permission pass. */
export function authorize(
  permission: string,
): (exchange: { readonly authenticatedKey: Pick<ApiKey, 'permissions'> }) => void {
  return function authorize(exchange) {
    if (exchange.authenticatedKey.permissions.includes(permission)) return;
    throw new GatewayError('FORBIDDEN', `This API key lacks the permission ${permission}.`, { reason: 'permission' });
  };
}
