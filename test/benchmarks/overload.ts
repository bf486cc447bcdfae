import { parseArgs } from 'node:util';
import { type LoadResult, load, percentile } from './load.ts';
import { type Server, startGateway, startStack } from './servers.ts';

/**
 * Goodput (200s within one second) under overload, with and without load shedding. Each round first measures the capacity:
 * 64 clients that send their next request as soon as they have a response. Then requests arrive at a multiple of that rate,
 * independently of the responses. The variants alternate, because the speed of a shared machine changes by the minute.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    misses: { type: 'boolean', default: false },
  },
});
const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];
const DEADLINE_MS = 1000;
const CONNECTIONS = 4000;

const stack = await startStack();
const keys = [await stack.key({ rateLimits: ['100000000/1s'] })];
const environment = {
  CACHE_TTL_MS: values.misses ? '0' : '3600000',
  MAX_CONNECTIONS: String(2 * CONNECTIONS),
};

interface Variant {
  readonly title: string;
  readonly gateway: Server;
  readonly capacity: LoadResult[];
  /** By multiple of the capacity. */
  readonly overloads: ReadonlyMap<number, LoadResult[]>;
}

async function startVariant(title: string, preload?: string): Promise<Variant> {
  const gateway = await startGateway(stack, environment, preload);
  return { title, gateway, capacity: [], overloads: new Map([1, 2].map((multiple) => [multiple, []])) };
}

async function measureVariant({ gateway: { url, pid }, capacity, overloads }: Variant): Promise<void> {
  const plan = { url, keys, pid, seconds, clientTimeoutMs: DEADLINE_MS };
  const closedLoop = await load({ ...plan, connections: 64 });
  capacity.push(closedLoop);
  const perSecond = closedLoop.outcomes.length / seconds;
  for (const [multiple, results] of overloads) {
    results.push(await load({ ...plan, connections: CONNECTIONS, rate: multiple * perSecond }));
  }
}

function summarize(results: readonly LoadResult[]) {
  const outcomes = results.flatMap((result) => result.outcomes);
  const good = outcomes.filter(({ status, ms }) => status === 200 && ms <= DEADLINE_MS);
  const rejected = outcomes.filter(({ status }) => status === 503).length;
  const cpuSeconds = results.reduce((sum, result) => sum + result.cpuSeconds, 0);
  return { sent: outcomes.length, good, rejected, cpuSeconds, goodPerCpuSecond: good.length / cpuSeconds };
}

/** A table row: requests per second, latency of the good responses, and good responses per CPU second relative to the capacity. */
function formatRow(title: string, results: readonly LoadResult[], capacity: readonly LoadResult[]): string {
  const { sent, good, rejected, cpuSeconds, goodPerCpuSecond } = summarize(results);
  const totalSeconds = seconds * results.length;
  const counts = [sent, good.length, rejected, sent - good.length - rejected];
  const shares = [cpuSeconds / totalSeconds, goodPerCpuSecond / summarize(capacity).goodPerCpuSecond];
  const cells = [
    title,
    ...counts.map((count) => Math.round(count / totalSeconds)),
    ...[0.5, 0.99].map((share) => percentile(good, share).toFixed(0)),
    ...shares.map((share) => `${(100 * share).toFixed(0)} %`),
  ];
  return `| ${cells.join(' | ')} |`;
}

async function measureAll(): Promise<readonly Variant[]> {
  const variants = [await startVariant('with shedding'), await startVariant('without shedding', 'without-shedding.ts')];
  for (const { gateway } of variants) await load({ url: gateway.url, keys, seconds, connections: 64 }); // Warm-up.
  for (let round = 0; round < rounds; round++) {
    for (const variant of variants) await measureVariant(variant);
  }
  for (const { gateway } of variants) await gateway.stop();
  return variants;
}

try {
  for (const { title, capacity, overloads } of await measureAll()) {
    console.log(`
| ${title} | sent/s | good/s | rejected/s | others/s | p50 ms | p99 ms | CPU | goodput |
|---|---|---|---|---|---|---|---|---|
${formatRow('capacity', capacity, capacity)}`);
    for (const [multiple, results] of overloads) console.log(formatRow(`${multiple} ×`, results, capacity));
  }
} finally {
  await stack.stop();
}
