import { GatewayError } from '../http/errors.ts';
import type { ApiKey } from '../keys/api-key.ts';
import type { Handler } from './request-context.ts';

/** Requires access to the account group in the path. */
export const requireAccountGroup: Handler = function requireAccountGroup(_request, { locals }, next) {
  checkAccountGroup(locals.authenticatedKey, locals.parameters['accountGroupId'] ?? '');
  next();
};

export function checkAccountGroup({ accountGroupIds }: Pick<ApiKey, 'accountGroupIds'>, accountGroupId: string): void {
  if (accountGroupIds === '*' || accountGroupIds.includes(accountGroupId)) return;
  throw new GatewayError('FORBIDDEN', 'This API key has no access to this account group.', { reason: 'account_group' });
}
