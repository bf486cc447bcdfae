import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStores } from '../../src/cli/open-stores.ts';
import { loadSettings } from '../../src/settings/load.ts';
import type { GatewayProcess, RunningGateway } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { deferredResponse, respondWithName } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';
import { entryName, getCacheStatus, getName, longRedisTimeouts, untilStored } from './fixture.ts';

let stack: Stack;
let key: string;
beforeEach(async () => {
  stack = await Stack.start();
  stack.upstream.respond = respondWithName('old');
  key = await stack.key({ rateLimits: ['1000000/1s'] });
});
afterEach(() => stack.stop());

const cached = {
  CACHE_TTL_MS: '600000',
  CACHE_STALE_WHILE_REVALIDATE_MS: '600000',
  CAMPAIGN_SERVICE_TIMEOUT_MS: '60000',
  ...longRedisTimeouts,
};
const read = (gateway: RunningGateway) => get(gateway.url + campaignPath, { 'x-api-key': key });
const countRequests = () => stack.upstream.requests.length;
const isStale = async (gateway: RunningGateway) => /^hit; ttl=-/.test(getCacheStatus(await read(gateway)) ?? '');
const untilNew = (gateway: RunningGateway) => until(async () => getName(await read(gateway)) === 'new');

async function post(gateway: GatewayProcess, count = 1): Promise<void> {
  const item = { accountGroupId: 'ag_1', campaignId: 'cmp_1' };
  const body = JSON.stringify(Array.from({ length: count }, () => item));
  const response = await fetch(`${gateway.operationsUrl}/cache/invalidations`, { method: 'POST', body });
  expect(response.status).toBe(202);
}

async function invalidateOverRedis(): Promise<void> {
  const stores = await openStores(loadSettings(stack.environment, ['REDIS_URL', 'REDIS_KEY_PREFIX', 'KEYS_FILE']));
  await stores.redis?.invalidate([{ accountGroupId: 'ag_1', documentId: 'cmp_1', mode: 'soft' }]);
  stores.close();
}

test('every gateway serves the stale campaign at once while one refresh runs over the fleet, and then the new one', async () => {
  const fleet = await Promise.all([1, 2, 3].map(() => stack.gatewayProcess(cached)));
  for (const gateway of fleet) await read(gateway);
  await untilStored(stack.redis.client);
  const refresh = deferredResponse(respondWithName('new'));
  stack.upstream.respond = refresh;
  await post(fleet[0] as GatewayProcess);
  for (const gateway of fleet) await until(() => isStale(gateway));
  await until(() => countRequests() === 2);
  for (const gateway of fleet) expect(await isStale(gateway)).toBe(true);
  refresh.open();
  for (const gateway of fleet) await untilNew(gateway);
  expect(countRequests()).toBe(2);
});

test('a gateway without the campaign in memory serves the shared stale entry', async () => {
  await read(await stack.gateway(cached));
  await untilStored(stack.redis.client);
  await invalidateOverRedis();
  stack.upstream.respond = deferredResponse(respondWithName('new'));
  expect(await isStale(await stack.gateway(cached))).toBe(true);
});

test('a thousand events for one campaign cause at most one request in flight and a bounded state in Redis', async () => {
  const { client } = stack.redis;
  const fleet = await Promise.all([1, 2].map(() => stack.gatewayProcess(cached)));
  for (const gateway of fleet) await read(gateway);
  await untilStored(client);
  let inFlight = 0;
  let maxInFlight = 0;
  stack.upstream.respond = (request, response) => {
    maxInFlight = Math.max(maxInFlight, ++inFlight);
    setTimeout(() => {
      inFlight--;
      respondWithName('new')(request, response);
    }, 50);
  };
  await post(fleet[0] as GatewayProcess);
  const countNames = async () => (await client.keys('*:{cache:*')).filter((name) => !name.endsWith(':lease')).length;
  const names = await countNames();
  for (let i = 0; i < 10; i++) {
    await post(fleet[i % 2] as GatewayProcess, 100);
    for (const gateway of fleet) await read(gateway);
  }
  for (const gateway of fleet) await untilNew(gateway);
  expect(maxInFlight).toBe(1);
  expect(await countNames()).toBe(names);
});

test('an event is in force where every message is lost', async () => {
  const gateway = await stack.gateway(cached);
  await read(gateway);
  const drop = setInterval(() => stack.redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub').catch(() => {}), 5);
  await invalidateOverRedis();
  stack.upstream.respond = respondWithName('new');
  await untilNew(gateway);
  clearInterval(drop);
});

test('an event is in force after Redis restarted without its data', async () => {
  const gateway = await stack.gateway(cached);
  await read(gateway);
  await untilStored(stack.redis.client);
  await invalidateOverRedis();
  await stack.redis.kill();
  await stack.redis.launch();
  expect(await stack.redis.client.exists(entryName)).toBe(0);
  key = await stack.key({ rateLimits: ['1000000/1s'] });
  stack.upstream.respond = respondWithName('new');
  await untilNew(gateway);
});

test('while Redis is unavailable an event is a 503, so that the sender repeats it', async () => {
  const gateway = await stack.gatewayProcess(cached);
  await stack.redis.kill();
  const body = JSON.stringify({ accountGroupId: 'ag_1' });
  const response = await fetch(`${gateway.operationsUrl}/cache/invalidations`, { method: 'POST', body });
  expect(response.status).toBe(503);
});
