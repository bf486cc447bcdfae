import { GatewayError } from '../http/errors.ts';
import type { Exchange } from './request-context.ts';

/** Lets keys pass that were given the account group in the path. */
export function requireAccountGroup(exchange: Pick<Exchange, 'authenticatedKey' | 'parameters'>): void {
  const { accountGroupIds } = exchange.authenticatedKey;
  if (accountGroupIds === '*' || accountGroupIds.includes(exchange.parameters['accountGroupId'] ?? '')) return;
  throw new GatewayError('FORBIDDEN', 'This API key has no access to this account group.', { reason: 'account_group' });
}
