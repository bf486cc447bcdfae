import { type GatewayProcess, readRedisState } from '../helpers/gateway.ts';
import { get } from '../helpers/http.ts';
import { makeKey } from '../helpers/keys.ts';
import type { Stack } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody, respondWithCampaign, respondWithJson } from '../helpers/upstream.ts';
import { until } from '../helpers/wait.ts';

/**
 * Starts two gateways and triggers almost every event that a metric counts: all cache outcomes, upstream failures, an open
 * circuit, a Redis outage with recovery, and exhausted rate limits of keys and addresses.
 */
export async function startExercisedGateways(stack: Stack): Promise<GatewayProcess[]> {
  const [gateway, failClosed] = await Promise.all([
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
  await exerciseCache(stack, gateway, key);
  await exerciseUpstreamFailures(stack, gateway, key);
  await exerciseRedisOutage(stack, [gateway, failClosed], key);
  const limited = await stack.key({ rateLimits: ['2/3600s'] });
  for (let i = 0; i < 4; i++) await Promise.all([read(gateway, limited), read(gateway, makeKey().key)]);
  return [gateway, failClosed];
}

const read = ({ url }: GatewayProcess, key: string, campaign = 'cmp_1') =>
  get(`${url}/v1/accounts/ag_1/campaigns/${campaign}`, { 'x-api-key': key });

const cacheStatus = async (...request: Parameters<typeof read>) =>
  (await read(...request)).headers.get('cache-status') ?? '';

async function exerciseCache(stack: Stack, gateway: GatewayProcess, key: string): Promise<void> {
  await until(async () => (await cacheStatus(gateway, key)).includes('hit; ttl=0'));
  await until(async () => (await cacheStatus(gateway, key)).includes('hit; ttl=-'));
  let attempt = 0;
  await until(async () => {
    const campaign = `cmp_collapsed${attempt++}`;
    const statuses = await Promise.all(Array.from({ length: 20 }, () => cacheStatus(gateway, key, campaign)));
    return statuses.some((status) => status.includes('collapsed'));
  });
  const uncacheable = JSON.stringify(campaignDocument('cmp_no_store'));
  stack.upstream.respond = respondWithBody(uncacheable, 200, { 'cache-control': 'no-store' });
  await until(async () => (await cacheStatus(gateway, key, 'cmp_no_store')).includes('fwd=bypass'));
  stack.upstream.respond = respondWithCampaign;
}

async function exerciseUpstreamFailures(stack: Stack, gateway: GatewayProcess, key: string): Promise<void> {
  stack.upstream.respond = respondWithJson({}, 404);
  await read(gateway, key, 'cmp_missing');
  stack.upstream.respond = respondWithJson({});
  await read(gateway, key, 'cmp_invalid');
  await get(`${gateway.url}/nowhere`);
  stack.upstream.respond = () => {}; // Never responds.
  await read(gateway, key, 'cmp_timeout');
  stack.upstream.respond = respondWithJson({}, 500);
  await until(async () => (await cacheStatus(gateway, key)).includes('detail='));
  let attempt = 0;
  await until(async () => (await read(gateway, key, `cmp_bad${attempt++}`)).text.includes('circuit_open'));
  stack.upstream.respond = respondWithCampaign;
}

async function exerciseRedisOutage(stack: Stack, gateways: readonly GatewayProcess[], key: string): Promise<void> {
  const untilRedisIs = (expected: string) =>
    until(async () => (await Promise.all(gateways.map(readRedisState))).every((state) => state === expected));
  await Promise.all(gateways.map((gateway) => read(gateway, key)));
  stack.redis.freeze();
  await untilRedisIs('down');
  await Promise.all(gateways.flatMap((gateway) => [read(gateway, key), read(gateway, makeKey().key)]));
  stack.redis.thaw();
  await untilRedisIs('up');
}
