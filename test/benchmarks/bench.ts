import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { load, percentile } from './load.ts';
import { type Server, startBaseline, startGateway, startNginx, startPeer, startStack } from './servers.ts';

/**
 * Measures the cost of a request against a bare node:http server. `--nginx` adds nginx with Lua doing the same work, `--peers`
 * the gateways that packages for Express and for fastify make. 64 clients send their next request as soon as they have a
 * response. Then requests arrive at half that rate, independently of the responses.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    nginx: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
  },
});
const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];

const stack = await startStack();
const keys = await Promise.all(Array.from({ length: 32 }, () => stack.key({ rateLimits: ['100000000/60s'] })));
const starts: Readonly<Record<string, () => Promise<Server>>> = {
  baseline: startBaseline,
  gateway: () => startGateway(stack, { CACHE_TTL_MS: '600000' }),
  ...(values.nginx && { nginx: () => startNginx(stack) }),
  ...(values.peers && { express: () => startPeer(stack, 'express'), fastify: () => startPeer(stack, 'fastify') }),
};

let loads = 0;
const scenarios = {
  'one key, one campaign, cached': () => ({ keys: keys.slice(0, 1) }),
  '32 keys, 5,000 campaigns, cached': () => ({ keys, campaigns: 5000 }),
  'a new campaign for each request': () => ({
    keys,
    campaigns: Number.MAX_SAFE_INTEGER,
    path: `/v1/accounts/ag_1/campaigns/cmp_${++loads}_`,
  }),
};
type Scenario = keyof typeof scenarios;

interface Figures {
  /** CPU time per request. */
  readonly microseconds: number;
  readonly perSecond: number;
  /** Per request at half the rate, as the latencies. */
  readonly redisCalls: number;
  readonly p50: number;
  readonly p99: number;
  readonly not200: number;
}

/** How many scripts Redis has run. */
async function countRedisCalls(): Promise<number> {
  const calls = (await stack.redis.client.info('commandstats')).matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm);
  return [...calls].reduce((sum, [, count]) => sum + Number(count), 0);
}

async function measure({ url, pid }: Server, scenario: Scenario): Promise<Figures> {
  const run = (rate: number, connections: number) =>
    load({ url, pid, seconds, rate, connections, ...scenarios[scenario]() });
  // Until the caches are filled and V8 has optimized the request path.
  for (let requests = 0; requests < 20_000; ) requests += (await run(0, 64)).outcomes.length;
  const { outcomes, cpuSeconds } = await run(0, 64);
  const perSecond = outcomes.length / seconds;
  const callsBefore = await countRedisCalls();
  const half = (await run(perSecond / 2, 1000)).outcomes;
  const redisCalls = (await countRedisCalls()) - callsBefore;
  return {
    microseconds: (cpuSeconds * 1e6) / outcomes.length,
    perSecond,
    redisCalls: redisCalls / half.length,
    p50: percentile(half, 0.5),
    p99: percentile(half, 0.99),
    not200: [...outcomes, ...half].filter(({ status }) => status !== 200).length,
  };
}

const results = new Map<string, Figures[]>();
const names = Object.keys(scenarios) as Scenario[];

async function measureAll(): Promise<void> {
  for (const [name, start] of Object.entries(starts)) {
    const server = await start();
    for (const scenario of names) {
      const row = `${scenario} | ${name}`;
      results.set(row, [...(results.get(row) ?? []), await measure(server, scenario)]);
    }
    await server.stop();
  }
}

/** The round with the median CPU time. */
function findMedian(row: string): Figures {
  const sorted = [...(results.get(row) ?? [])].sort((a, b) => a.microseconds - b.microseconds);
  return sorted[Math.floor(sorted.length / 2)] as Figures;
}

function printTable(): void {
  const base = values.nginx ? 'nginx' : 'baseline';
  console.log(`${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}

| | | CPU µs per request | × ${base} | requests/s | at half that: Redis calls per request | p50 ms | p99 ms | not 200 |
|---|---|---|---|---|---|---|---|---|`);
  for (const scenario of names) {
    const { microseconds: baseMicroseconds } = findMedian(`${scenario} | ${base}`);
    for (const name of Object.keys(starts)) {
      const row = `${scenario} | ${name}`;
      const { microseconds, perSecond, redisCalls, p50, p99, not200 } = findMedian(row);
      const ratios = [microseconds.toFixed(1), (microseconds / baseMicroseconds).toFixed(2)];
      const numbers = [perSecond.toFixed(0), redisCalls.toFixed(2), p50.toFixed(2), p99.toFixed(2), not200];
      console.log(`| ${[row, ...ratios, ...numbers].join(' | ')} |`);
    }
  }
}

try {
  for (let round = 0; round < rounds; round++) await measureAll();
  printTable();
} finally {
  await stack.stop();
}
