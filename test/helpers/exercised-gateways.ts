import type { GatewayProcess } from './gateway.ts';
import { get } from './http.ts';
import { makeKey } from './keys.ts';
import { Stack } from './stack.ts';
import {
  campaignDocument,
  deferredResponse,
  respondWithBody,
  respondWithCampaign,
  respondWithJson,
} from './upstream.ts';
import { until } from './wait.ts';

/**
 * Two gateways to which almost everything has happened that a metric tells of: all that a cache does, failures of the
 * campaign service and an open circuit, Redis away and back, limits of keys and addresses.
 */
export async function startExercisedGateways(): Promise<{ gateways: GatewayProcess[]; stop(): Promise<void> }> {
  const stack = await Stack.start();
  try {
    const [first, closed] = await Promise.all([
      stack.gatewayProcess({
        CACHE_TTL_MS: '300',
        CACHE_STALE_WHILE_REVALIDATE_MS: '300',
        CAMPAIGN_SERVICE_TIMEOUT_MS: '200',
        CAMPAIGN_SERVICE_RETRIES: '0',
        CAMPAIGN_SERVICE_BREAKER_FAILURES: '4',
        KEY_CACHE_TTL_MS: '200',
        AUTH_FAILURE_LIMIT: '2/3600s',
      }),
      stack.gatewayProcess({ RATE_LIMIT_ON_REDIS_FAILURE: 'closed' }),
    ]);
    const key = await stack.key();
    await readThroughCache(stack, first, key);
    await failAtCampaignService(stack, first, key);
    await doWithoutRedis(stack, first, closed, key);
    await useUpLimits(stack, first);
    return { gateways: [first, closed], stop: () => stack.stop() };
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

const read = ({ url }: GatewayProcess, key: string, campaign = 'cmp_1') =>
  get(`${url}/v1/accounts/ag_1/campaigns/${campaign}`, { 'x-api-key': key });

const cacheStatus = async (...request: Parameters<typeof read>) =>
  (await read(...request)).headers.get('cache-status') ?? '';

async function readThroughCache(stack: Stack, gateway: GatewayProcess, key: string): Promise<void> {
  await until(async () => (await cacheStatus(gateway, key)).includes('hit; ttl=0'));
  await until(async () => (await cacheStatus(gateway, key)).includes('hit; ttl=-'));
  let attempt = 0;
  await until(async () => {
    const held = deferredResponse();
    stack.upstream.answer = held;
    const before = stack.upstream.requests.length;
    const campaign = `cmp_together${attempt++}`;
    const answers = [1, 2, 3].map(() => cacheStatus(gateway, key, campaign));
    await until(() => stack.upstream.requests.length > before);
    held.open();
    return (await Promise.all(answers)).some((status) => status.includes('collapsed'));
  });
  const unkept = JSON.stringify(campaignDocument('cmp_unkept'));
  stack.upstream.answer = respondWithBody(unkept, 200, { 'cache-control': 'no-store' });
  await until(async () => (await cacheStatus(gateway, key, 'cmp_unkept')).includes('fwd=bypass'));
  stack.upstream.answer = respondWithCampaign;
}

async function failAtCampaignService(stack: Stack, gateway: GatewayProcess, key: string): Promise<void> {
  stack.upstream.answer = respondWithJson({}, 404);
  await read(gateway, key, 'cmp_nowhere');
  await read({ ...gateway, url: `${gateway.url}/nowhere` }, key);
  stack.upstream.answer = () => {}; // It never answers.
  await read(gateway, key, 'cmp_late');
  stack.upstream.answer = respondWithJson({}, 500);
  await until(async () => (await cacheStatus(gateway, key)).includes('detail='));
  let attempt = 0;
  await until(async () => (await read(gateway, key, `cmp_bad${attempt++}`)).text.includes('circuit_open'));
  stack.upstream.answer = respondWithCampaign;
}

async function doWithoutRedis(stack: Stack, gateway: GatewayProcess, closed: GatewayProcess, key: string) {
  await read(closed, key);
  const sees = async ({ operationsUrl }: GatewayProcess, state: string) =>
    (await (await fetch(`${operationsUrl}/readyz`)).text()).includes(`"${state}"`);
  const both = async (state: string) => (await sees(gateway, state)) && (await sees(closed, state));
  stack.redis.freeze();
  await until(() => both('down'));
  await read(gateway, key);
  await read(gateway, makeKey().key);
  await read(closed, key);
  stack.redis.thaw();
  await until(() => both('up'));
}

async function useUpLimits(stack: Stack, gateway: GatewayProcess): Promise<void> {
  const key = await stack.key({ rateLimits: ['2/3600s'] });
  for (let i = 0; i < 4; i++) await read(gateway, key);
  for (let i = 0; i < 4; i++) await read(gateway, makeKey().key);
}
