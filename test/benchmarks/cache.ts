import { parseArgs } from 'node:util';
import type { GatewayProcess } from '../helpers/gateway.ts';
import { Stack } from '../helpers/stack.ts';
import { openLoop, percentile, read, residentMegabytes } from './load.ts';
import { seededRandom, zipf } from './speed/zipf.ts';

/**
 * Measures upstream requests and latency with and without the cache: two gateway processes on one Redis, campaigns with a Zipf
 * distribution, keys with a uniform one, the same request rate. Then measures the memory of one gateway while it reads
 * distinct campaigns.
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

async function measureZipfLoad(title: string, environment: Record<string, string>): Promise<void> {
  const stack = await Stack.start();
  stack.redisTimeouts = {};
  const fleet = await Promise.all([stack.gatewayProcess(environment), stack.gatewayProcess(environment)]);
  const keys = await Promise.all(Array.from({ length: options.keys }, () => stack.key({ rateLimits: ['1000000/1s'] })));
  const random = seededRandom(1);
  const campaign = zipf(options.campaigns, random);
  const outcomes = await openLoop(options, (number, loadStartedAt) => {
    const key = keys[Math.floor(random() * keys.length)] as string;
    return read(fleet[number % 2] as GatewayProcess, key, `ag_1/campaigns/cmp_${campaign()}`, loadStartedAt);
  });
  const total = outcomes.length;
  const forwarded = stack.upstream.requests.length;
  const latencies = outcomes.map(({ ms }) => ms);
  const hits = outcomes.filter(({ cache }) => cache === 'hit').length;
  const percent = (count: number) => `${((100 * count) / total).toFixed(1)} %`;
  const cells = [
    title,
    total,
    forwarded,
    percent(forwarded),
    percent(hits),
    percentile(latencies, 0.5).toFixed(1),
    percentile(latencies, 0.99).toFixed(1),
    outcomes.filter(({ status }) => status !== 200).length,
  ];
  console.log(`| ${cells.join(' | ')} |`);
  await stack.stop();
}

async function measureMemory(): Promise<void> {
  const stack = await Stack.start();
  stack.redisTimeouts = {};
  const environment = { CACHE_TTL_MS: '600000', CACHE_MAX_BYTES: '16777216' };
  const gateway = await stack.gatewayProcess(environment);
  const key = await stack.key({ rateLimits: ['1000000/1s'] });
  const readMetric = async (name: string) => {
    const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
    return Number(new RegExp(`^campaign_gateway_cache_${name} (\\d+)`, 'm').exec(text)?.[1]);
  };
  let next = 0;
  const readUntil = async (end: number) => {
    while (next < end) await read(gateway, key, `ag_1/campaigns/cmp_${next++}`, 0);
  };
  for (let step = 1; step <= 10; step++) {
    const end = Math.round((options.distinct * step) / 10);
    await Promise.all(Array.from({ length: 32 }, () => readUntil(end)));
    stack.upstream.requests.length = 0; // Releases the recorded requests.
    const [entries, bytes] = [await readMetric('entries'), await readMetric('bytes')];
    console.log(`| ${end} | ${entries} | ${bytes} | ${residentMegabytes(gateway)} |`);
  }
  await stack.stop();
}

console.log(`${options.seconds} s, ${options.rate} requests/s, two gateways, ${options.keys} keys, ${options.campaigns} campaigns

| | requests | forwarded | forwarded % | hits | p50 ms | p99 ms | not 200 |
|---|---|---|---|---|---|---|---|`);
await measureZipfLoad('no cache', { CACHE_TTL_MS: '0' });
await measureZipfLoad('cache', { CACHE_TTL_MS: '30000' });
console.log(`
One gateway reads ${options.distinct} campaigns once each, CACHE_MAX_BYTES=16777216

| campaigns read | entries | bytes | resident MB |
|---|---|---|---|`);
await measureMemory();
process.exit(0);
