import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { respondWithJson } from '../helpers/upstream.ts';

let stack: Stack;
let gateway: RunningGateway;

beforeAll(async () => {
  stack = await Stack.start();
  gateway = await stack.gateway();
  stack.upstream.respond = respondWithJson({}, 404);
});
afterAll(() => stack.stop());

/** The checks in their documented order, each with the response when it fails. The campaign check always fails. */
const checks = [
  { name: 'key', status: 401 },
  { name: 'rate limit', status: 429 },
  { name: 'permission', status: 403, details: /permission/ },
  { name: 'parameters', status: 400 },
  { name: 'account group', status: 403, details: /account group/ },
  { name: 'campaign', status: 404, details: /campaign/ },
] as const;
type CheckName = (typeof checks)[number]['name'];

const combinations = Array.from({ length: 2 ** (checks.length - 1) }, (_, bits) =>
  checks.filter(({ name }, i) => name === 'campaign' || (bits & (1 << i)) !== 0),
).map((failing) => ({ failing, names: failing.map(({ name }) => name).join(', ') }));

test.each(combinations)('of the failing checks the first one decides the response: $names', async ({ failing }) => {
  const fails = (name: CheckName) => failing.some((check) => check.name === name);
  const key = await stack.key({
    permissions: [fails('permission') ? 'campaigns:write' : 'campaigns:read'],
    accountGroupIds: fails('account group') ? ['ag_2'] : ['ag_1', 'ag_2'],
    rateLimits: ['1/3600s'],
  });
  if (fails('rate limit')) await get(gateway.url + campaignPath, { 'x-api-key': key });
  const presented = fails('key') ? `${key.slice(0, -1)}!` : key;
  const path = fails('parameters') ? `${campaignPath}.d` : campaignPath;
  const { status, body } = await get(gateway.url + path, { 'x-api-key': presented });
  const [first] = failing;
  expect(status).toBe(first?.status);
  if (first && 'details' in first) expect(body.error?.details).toMatch(first.details);
});
