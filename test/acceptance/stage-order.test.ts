import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import type { RedisTopology } from '../helpers/redis.ts';
import { redisTopologies } from '../helpers/redis-topologies.ts';
import { Stack } from '../helpers/stack.ts';
import { respondWithJson } from '../helpers/upstream.ts';

describe.each(redisTopologies)('Redis as %s', (_form, startRedis) => {
  let stack: Stack<RedisTopology>;
  let gateway: RunningGateway;

  beforeAll(async () => {
    stack = await Stack.start(startRedis);
    gateway = await stack.gateway();
    stack.upstream.answer = respondWithJson({}, 404);
  });
  afterAll(() => stack.stop());

  /** Everything that can be wrong with a request, in the order in which it has to be found. */
  const checks = [
    { wrong: 'the key', status: 401 },
    { wrong: 'the limit', status: 429 },
    { wrong: 'the permission', status: 403, details: /permission/ },
    { wrong: 'the parameters', status: 400 },
    { wrong: 'the account group', status: 403, details: /account group/ },
    { wrong: 'the campaign', status: 404 },
  ] as const;

  const combinations = Array.from({ length: 2 ** (checks.length - 1) }, (_, bits) =>
    checks.map((_check, i) => i === 5 || (bits & (1 << i)) !== 0),
  );

  test.each(combinations)('the first of what is wrong decides: %s %s %s %s %s %s', async (...wrong) => {
    const [badKey, usedUp, noPermission, badParameters, noAccountGroup] = wrong;
    const key = await stack.key({
      permissions: [noPermission ? 'campaigns:write' : 'campaigns:read'],
      accountGroupIds: noAccountGroup ? ['ag_2'] : ['ag_1', 'ag_2'],
      rateLimits: ['1/3600s'],
    });
    if (usedUp) await get(`${gateway.url}/v1/accounts/ag_1/campaigns/c`, { 'x-api-key': key });
    const shown = badKey ? `${key.slice(0, -1)}!` : key;
    const path = badParameters ? '/v1/accounts/ag_1/campaigns/c.d' : '/v1/accounts/ag_1/campaigns/c';
    const answered = await get(gateway.url + path, { 'x-api-key': shown });
    const first = checks[wrong.indexOf(true)];
    expect(answered.status).toBe(first?.status);
    if (first && 'details' in first) expect(answered.body.error?.details).toMatch(first.details);
  });
});
