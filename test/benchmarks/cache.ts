import { parseArgs } from 'node:util';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { Stack } from '../helpers/stack.ts';
import { openLoop, percentile, read, residentMegabytes } from './load.ts';
import { seededRandom, zipf } from './speed/zipf.ts';

/**
 * What the cache spares the campaign service, and what it takes for that: two gateway processes on one Redis, campaigns
 * drawn by Zipf's law, keys evenly, as many requests a second with the cache as without. Then the memory of one gateway over
 * campaigns that are all different.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '500' },
    keys: { type: 'string', default: '1000' },
    campaigns: { type: 'string', default: '10000' },
    distinct: { type: 'string', default: '100000' },
  },
});
const options = Object.fromEntries(Object.entries(values).map(([name, text]) => [name, Number(text)])) as Record<
  keyof typeof values,
  number
>;

async function zipfLoad(title: string, environment: Record<string, string>): Promise<void> {
  const stack = await Stack.start();
  stack.redisTimeouts = {};
  const fleet = await Promise.all([stack.gatewayProcess(environment), stack.gatewayProcess(environment)]);
  const keys = await Promise.all(Array.from({ length: options.keys }, () => stack.key({ rateLimits: ['1000000/1s'] })));
  const random = seededRandom(1);
  const campaign = zipf(options.campaigns, random);
  const answered = await openLoop(options, (sent, since) => {
    const key = keys[Math.floor(random() * keys.length)] as string;
    return read(fleet[sent % 2] as GatewayProcess, key, `ag_1/campaigns/cmp_${campaign()}`, since);
  });
  const total = answered.length;
  const reached = stack.upstream.requests.length;
  const times = answered.map(({ ms }) => ms);
  const hits = answered.filter(({ cache }) => cache === 'hit').length;
  const bad = answered.filter(({ status }) => status !== 200).length;
  const cells = [
    title,
    total,
    reached,
    `${((100 * reached) / total).toFixed(1)} %`,
    `${((100 * hits) / total).toFixed(1)} %`,
    percentile(times, 0.5).toFixed(1),
    percentile(times, 0.99).toFixed(1),
    bad,
  ];
  console.log(`| ${cells.join(' | ')} |`);
  await stack.stop();
}

async function distinctCampaigns(): Promise<void> {
  const stack = await Stack.start();
  stack.redisTimeouts = {};
  const environment = { CACHE_TTL_MS: '600000', CACHE_MAX_BYTES: '16777216' };
  const gateway = await stack.gatewayProcess(environment);
  const key = await stack.key({ rateLimits: ['1000000/1s'] });
  const metric = async (name: string) => {
    const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
    return Number(new RegExp(`^campaign_gateway_cache_${name} (\\d+)`, 'm').exec(text)?.[1]);
  };
  let next = 0;
  const reader = async (until: number) => {
    while (next < until) await read(gateway, key, `ag_1/campaigns/cmp_${next++}`, 0);
  };
  for (let step = 1; step <= 10; step++) {
    const until = Math.round((options.distinct * step) / 10);
    await Promise.all(Array.from({ length: 32 }, () => reader(until)));
    stack.upstream.requests.length = 0; // The test's own list must not be what fills the machine.
    console.log(`| ${until} | ${await metric('entries')} | ${await metric('bytes')} | ${residentMegabytes(gateway)} |`);
  }
  await stack.stop();
}

console.log(`${options.seconds} s, ${options.rate} requests/s, two gateways, ${options.keys} keys, ${options.campaigns} campaigns

| | requests | reached the campaign service | | hits | p50 ms | p99 ms | not 200 |
|---|---|---|---|---|---|---|---|`);
await zipfLoad('no cache', { CACHE_TTL_MS: '0' });
await zipfLoad('cache', { CACHE_TTL_MS: '30000' });
console.log(`
${options.distinct} campaigns, each read once by one gateway, CACHE_MAX_BYTES=16777216

| campaigns read | entries | bytes | resident MB |
|---|---|---|---|`);
await distinctCampaigns();
process.exit(0);
