import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { load } from '../helpers/load-process.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { percentile } from './load.ts';

/**
 * What a gateway still serves in time under more load than it can take: first its capacity (64 clients that ask again at
 * once), then as many requests a second as that and twice as many, whatever becomes of them; and the same without shedding,
 * in turns.
 * The gateway has the first core of the machine, the load, Redis and the campaign service have the others.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    times: { type: 'string', default: '1,2' },
    /** Open from the start: the cost of a new one is not what is measured. */
    connections: { type: 'string', default: '4000' },
    misses: { type: 'boolean', default: false },
  },
});
const [seconds, rounds, connections] = [values.seconds, values.rounds, values.connections].map(Number) as [
  number,
  number,
  number,
];
const IN_TIME_MS = 1000;

const cores = availableParallelism(); // Of this process, so long as it is not pinned itself.
const pin = (pid: number | undefined, to: string) => {
  if (cores > 1) execFileSync('taskset', ['-a', '-cp', to, String(pid)], { stdio: 'ignore' });
};
pin(process.pid, `1-${Math.max(1, cores - 1)}`);

const stack = await Stack.start();
stack.redisTimeouts = {};
const key = await stack.key({ rateLimits: ['100000000/1s'] });
setInterval(() => {
  stack.upstream.requests.length = 0; // They must not be what fills the machine.
}, 100);

interface Variant {
  readonly title: string;
  readonly gateway: ChildProcess;
  readonly url: string;
}

/** Nobody here reads its log: that would take time from the load. */
async function startVariant(title: string, first: readonly string[]): Promise<Variant> {
  const [port, opsPort] = [await freePort(), await freePort()];
  const args = [...first, path.join(import.meta.dirname, '../../src/main.ts')];
  const gateway = spawn(process.execPath, args, {
    env: {
      ...stack.environment,
      PATH: process.env['PATH'] ?? '',
      NODE_ENV: 'production',
      CACHE_TTL_MS: values.misses ? '0' : '3600000',
      MAX_CONNECTIONS: String(2 * connections),
      HOST: '127.0.0.1',
      PORT: String(port),
      OPS_PORT: String(opsPort),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  pin(gateway.pid, '0');
  const isReady = () =>
    fetch(`http://127.0.0.1:${opsPort}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until(isReady);
  return { title, gateway, url: `http://127.0.0.1:${port}` };
}

interface Sum {
  ms: number;
  cpuSeconds: number;
  sent: number;
  refused: number;
  goodMs: number[];
}

async function ask({ gateway, url }: Variant, rate: number, connections: number, sum: Sum): Promise<void> {
  const asked = { url, path: campaignPath, key };
  const { pid } = gateway;
  const plan = { ...asked, seconds, rate, connections, maxConnections: connections, clientTimeoutMs: IN_TIME_MS, pid };
  const { cpuSeconds, sent, refused, goodMs } = await load(plan);
  sum.cpuSeconds += cpuSeconds;
  sum.ms += seconds * 1000;
  sum.sent += sent;
  sum.refused += refused;
  sum.goodMs = sum.goodMs.concat(goodMs.filter((ms) => ms <= IN_TIME_MS));
}

const nothing = (): Sum => ({ ms: 0, cpuSeconds: 0, sent: 0, refused: 0, goodMs: [] });

/** Requests a second, how long the good ones took, and good ones for the CPU time that the gateway had, by the capacity. */
function describe(title: string, { ms, cpuSeconds, sent, refused, goodMs }: Sum, capacity: Sum): string {
  const perSecond = [sent, goodMs.length, refused, sent - goodMs.length - refused];
  const goodput = goodMs.length / cpuSeconds / (capacity.goodMs.length / capacity.cpuSeconds);
  const cells = [
    title,
    ...perSecond.map((count) => Math.round((1000 * count) / ms)),
    ...[0.5, 0.99].map((share) => percentile(goodMs, share).toFixed(0)),
    `${((100_000 * cpuSeconds) / ms).toFixed(0)} %`,
    `${(100 * goodput).toFixed(0)} %`,
  ];
  return `| ${cells.join(' | ')} |`;
}

const withoutShedding = ['--import', path.join(import.meta.dirname, 'without-shedding.ts')];
const variants = [await startVariant('as it is', []), await startVariant('without shedding', withoutShedding)];
const loads = values.times.split(',').map(Number);
const sums = new Map(variants.map((variant) => [variant, { capacity: nothing(), loads: loads.map(nothing) }]));
for (const variant of variants) await ask(variant, 0, 64, nothing()); // Warm.
// In turns: what the machine can do changes by the minute.
for (let round = 0; round < rounds; round++) {
  for (const [variant, { capacity, loads: sumsOfLoads }] of sums) {
    const before = capacity.sent;
    await ask(variant, 0, 64, capacity);
    const rate = (capacity.sent - before) / seconds;
    for (const [i, times] of loads.entries()) await ask(variant, times * rate, connections, sumsOfLoads[i] as Sum);
  }
}
for (const [{ title, gateway }, { capacity, loads: sumsOfLoads }] of sums) {
  console.log(`
| ${title} | sent/s | good/s | refused/s | others/s | p50 ms | p99 ms | of the core | goodput |
|---|---|---|---|---|---|---|---|---|
${describe('capacity', capacity, capacity)}`);
  for (const [i, times] of loads.entries()) console.log(describe(`${times} ×`, sumsOfLoads[i] as Sum, capacity));
  gateway.kill('SIGKILL');
  await once(gateway, 'exit');
}
await stack.stop();
process.exit(0);
