import { GatewayError } from '../errors.ts';
import type { Stage } from './pipeline.ts';

/** Lets keys pass that were given the account group in the path. */
export const requireAccountGroup: Stage = function requireAccountGroup(exchange) {
  const { accountGroupIds } = exchange.authenticatedKey;
  if (accountGroupIds === '*' || accountGroupIds.includes(exchange.parameters['accountGroupId'] ?? '')) return;
  throw new GatewayError('FORBIDDEN', 'This key has no access to this account group.', { reason: 'account_group' });
};
