import { z } from 'zod';
import type { Endpoint } from '../../src/endpoints/endpoint.ts';
import { identifier } from '../../src/endpoints/identifier.ts';

/** An endpoint about something other than campaigns, with a nested list. */
export const readOrder: Endpoint = {
  name: 'Order',
  title: 'Get an order',
  description: 'Returns one order.',
  path: '/v1/accounts/{accountGroupId}/orders/{orderId}',
  permission: 'orders:read',
  parameters: {
    accountGroupId: identifier.meta({ description: 'An account group ID.', examples: ['ag_1'] }),
    orderId: identifier.meta({ description: 'An order ID.', examples: ['ord_1'] }),
  },
  response: z.object({
    id: z.string().describe('Identifier <b>of the order</b>.'),
    items: z.array(z.object({ quantity: z.int().min(1).describe('Number of pieces.') })).describe('What is ordered.'),
  }),
  responseDescription: 'The order',
  example: { id: 'ord_1', items: [{ quantity: 1 }] },
  upstreamPath: '/orders/{orderId}',
  resultPointer: '',
  idParameter: 'orderId',
  notFoundMessage: 'There is no such order.',
};
