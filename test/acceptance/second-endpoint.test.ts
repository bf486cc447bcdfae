import { expect, onTestFinished, test } from 'vitest';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import { get } from '../helpers/http.ts';
import { readOrder } from '../helpers/second-endpoint.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithJson } from '../helpers/upstream.ts';

test('a second endpoint uses the same middleware with its own permission, parameters, response schema and path', async () => {
  const stack = await Stack.start();
  onTestFinished(() => stack.stop());
  const endpoint = { ...readOrder, resultPointer: '/order' };
  const { url } = await stack.gateway({}, { endpoints: (settings) => [readCampaign(settings), endpoint] });
  const headers = { 'x-api-key': await stack.key({ permissions: ['orders:read'] }) };
  const order = { id: 'ord_1', items: [{ quantity: 2, secret: 'secret' }], owner: 'secret' };
  const orders = `${url}/v1/accounts/ag_1/orders`;
  stack.upstream.respond = respondWithJson({ order });

  const response = await get(`${orders}/ord_1`, headers);
  expect([response.status, response.body.data]).toEqual([200, { id: 'ord_1', items: [{ quantity: 2 }] }]);
  expect(stack.upstream.requests.at(-1)?.url).toBe('/orders/ord_1');
  expect((await get(`${orders}/ord.1`, headers)).body.error?.details).toMatch(/^orderId must be/);
  expect((await get(`${orders}/ord_2`, headers)).status).toBe(502);
  expect((await get(url + campaignPath, headers)).status).toBe(403);
  expect((await get(`${orders}/ord_1`, { 'x-api-key': await stack.key() })).status).toBe(403);
  stack.upstream.respond = respondWithJson({}, 404);
  expect((await get(`${orders}/ord_1`, headers)).body.error?.details).toBe('There is no such order.');
});
