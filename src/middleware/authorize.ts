import { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';
import type { Handler } from './request-context.ts';

/** Requires the endpoint's permission. */
export function authorize(permission: string): Handler {
  return function authorize(_request, response, next) {
    checkPermission(response.locals.authenticatedKey, permission);
    next();
  };
}

export function checkPermission(key: Pick<ApiKey, 'permissions'>, permission: string): void {
  if (key.permissions.includes(permission)) return;
  throw new GatewayError('FORBIDDEN', `This API key lacks the permission ${permission}.`, { reason: 'permission' });
}
