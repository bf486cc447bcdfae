import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { percentile } from './load.ts';
import { load } from './load-process.ts';

/**
 * Goodput (200s within one second) under overload, with and without load shedding. Each round first measures the capacity:
 * 64 clients that send their next request as soon as they have a response. Then requests arrive at a multiple of that rate,
 * independently of the responses. The variants alternate, because the speed of a shared machine changes by the minute.
 * The gateway is pinned to the first core; the load generator, Redis and the campaign service use the others.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    times: { type: 'string', default: '1,2' },
    /** Opened before the load starts, so that accepting connections is not measured. */
    connections: { type: 'string', default: '4000' },
    misses: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);
const connections = Number(values.connections);
const multiples = values.times.split(',').map(Number);
const DEADLINE_MS = 1000;

const cores = availableParallelism(); // Read before this process is pinned itself.
const pin = (pid: number | undefined, cpus: string) => {
  if (cores > 1) execFileSync('taskset', ['-a', '-cp', cpus, String(pid)], { stdio: 'ignore' });
};
pin(process.pid, `1-${Math.max(1, cores - 1)}`);

const stack = await Stack.start();
stack.redisTimeouts = {};
const key = await stack.key({ rateLimits: ['100000000/1s'] });
setInterval(() => {
  stack.upstream.requests.length = 0; // Bounds the memory of the scripted campaign service.
}, 100);

interface Variant {
  readonly title: string;
  readonly gateway: ChildProcess;
  readonly url: string;
}

/** The gateway's log is discarded: reading it would take CPU time from the load generator. */
async function startVariant(title: string, nodeOptions: readonly string[]): Promise<Variant> {
  const [port, opsPort] = [await freePort(), await freePort()];
  const args = [...nodeOptions, path.join(import.meta.dirname, '../../src/main.ts')];
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

interface Totals {
  durationMs: number;
  cpuSeconds: number;
  sent: number;
  rejected: number;
  goodMs: number[];
}

const newTotals = (): Totals => ({ durationMs: 0, cpuSeconds: 0, sent: 0, rejected: 0, goodMs: [] });

async function run({ gateway, url }: Variant, rate: number, connections: number, totals: Totals): Promise<void> {
  const target = { url, path: campaignPath, key };
  const { pid } = gateway;
  const plan = {
    ...target,
    seconds,
    rate,
    connections,
    maxConnections: connections,
    clientTimeoutMs: DEADLINE_MS,
    pid,
  };
  const { cpuSeconds, sent, refused: rejected, goodMs } = await load(plan);
  totals.cpuSeconds += cpuSeconds;
  totals.durationMs += seconds * 1000;
  totals.sent += sent;
  totals.rejected += rejected;
  totals.goodMs = totals.goodMs.concat(goodMs.filter((ms) => ms <= DEADLINE_MS));
}

/** A table row: requests per second, latency of the good responses, and good responses per CPU second relative to the capacity. */
function formatRow(
  title: string,
  { durationMs, cpuSeconds, sent, rejected, goodMs }: Totals,
  capacity: Totals,
): string {
  const counts = [sent, goodMs.length, rejected, sent - goodMs.length - rejected];
  const goodput = goodMs.length / cpuSeconds / (capacity.goodMs.length / capacity.cpuSeconds);
  const cells = [
    title,
    ...counts.map((count) => Math.round((1000 * count) / durationMs)),
    ...[0.5, 0.99].map((share) => percentile(goodMs, share).toFixed(0)),
    `${((100_000 * cpuSeconds) / durationMs).toFixed(0)} %`,
    `${(100 * goodput).toFixed(0)} %`,
  ];
  return `| ${cells.join(' | ')} |`;
}

const withoutShedding = ['--import', path.join(import.meta.dirname, 'without-shedding.ts')];
const variants = [await startVariant('with shedding', []), await startVariant('without shedding', withoutShedding)];
const results = variants.map((variant) => ({ variant, capacity: newTotals(), overloads: multiples.map(newTotals) }));
for (const variant of variants) await run(variant, 0, 64, newTotals()); // Warm-up.
for (let round = 0; round < rounds; round++) {
  for (const { variant, capacity, overloads } of results) {
    const sentBefore = capacity.sent;
    await run(variant, 0, 64, capacity);
    const rate = (capacity.sent - sentBefore) / seconds;
    for (const [i, totals] of overloads.entries()) await run(variant, (multiples[i] ?? 1) * rate, connections, totals);
  }
}
for (const { variant, capacity, overloads } of results) {
  console.log(`
| ${variant.title} | sent/s | good/s | rejected/s | others/s | p50 ms | p99 ms | CPU | goodput |
|---|---|---|---|---|---|---|---|---|
${formatRow('capacity', capacity, capacity)}`);
  for (const [i, totals] of overloads.entries()) console.log(formatRow(`${multiples[i]} ×`, totals, capacity));
  variant.gateway.kill('SIGKILL');
  await once(variant.gateway, 'exit');
}
await stack.stop();
process.exit(0);
