import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { Endpoint } from '../../src/endpoints/endpoint.ts';
import { identifier } from '../../src/endpoints/identifier.ts';
import { readCampaign } from '../../src/endpoints/read-campaign.ts';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithJson } from '../helpers/upstream.ts';

/** A second endpoint costs this definition, in one file, and one line in the list of endpoints. */
const readLead: Endpoint = {
  name: 'Lead',
  title: 'Read a lead',
  description: 'A lead of a campaign.',
  path: '/v1/accounts/{accountGroupId}/campaigns/{campaignId}/leads/{leadId}',
  permission: 'leads:read',
  parameters: {
    accountGroupId: identifier,
    campaignId: identifier,
    leadId: z.string().regex(/^\d{1,9}$/, 'must be a number'),
  },
  response: z.object({ id: z.string(), score: z.int() }),
  responseDescription: 'The lead.',
  upstreamPath: '/leads/{leadId}/of/{campaignId}',
  resultPointer: '/lead',
  idParameter: 'leadId',
  example: {},
  notFoundMessage: 'There is no such lead in this campaign.',
};

let stack: Stack;
let gateway: RunningGateway;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway({}, { endpoints: (settings) => [readCampaign(settings), readLead] });
});
afterAll(() => stack.stop());

test('a second endpoint uses the same middleware with its own permission, parameters, response schema and path', async () => {
  const leads = `${campaignPath}/leads`;
  const headers = { 'x-api-key': await stack.key({ permissions: ['leads:read'] }) };
  stack.upstream.respond = respondWithJson({ lead: { id: '7', score: 3, workflowDefinition: 'secret' } });
  const response = await get(`${gateway.url}${leads}/7`, headers);
  expect([response.status, response.body.data]).toEqual([200, { id: '7', score: 3 }]);
  expect(stack.upstream.requests.at(-1)?.url).toBe('/leads/7/of/cmp_1');

  const { body } = await get(`${gateway.url}${leads}/seven`, headers);
  expect(body.error).toMatchObject({ code: 'VALIDATION_ERROR', details: 'leadId must be a number.' });
  expect((await get(gateway.url + campaignPath, headers)).status).toBe(403);
  expect((await get(`${gateway.url}${leads}/7`, { 'x-api-key': await stack.key() })).status).toBe(403);
  expect((await get(`${gateway.url}${leads}/8`, headers)).status).toBe(502);
  stack.upstream.respond = respondWithJson({}, 404);
  expect((await get(`${gateway.url}${leads}/7`, headers)).body.error?.details).toBe(
    'There is no such lead in this campaign.',
  );
});
