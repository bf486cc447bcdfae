import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { freePort } from '../helpers/redis.ts';
import { Stack } from '../helpers/stack.ts';
import { closeConnections, openLoop, percentile, read, residentMegabytes } from './load.ts';

/**
 * Runs a minute of load at 75 % of the capacity (`--redis`: 50 %) while the campaign service (or Redis) is killed and paused
 * in turn. Prints statuses, recovery times and resource growth. Exits 1 when a promise is broken.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    cache: { type: 'boolean', default: false },
    redis: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const [OUTAGE_INTERVAL_MS, OUTAGE_MS] = values.redis ? [14_000, 10_000] : [7000, 1500];
/** At a higher rate the load generator is the bottleneck. */
const MAX_RATE = 2000;
/** The allowed time to recover after an outage. */
const RECOVERY_MS = 2000;
/** The allowed increase of p99 while Redis is unavailable. */
const REDIS_OUTAGE_P99_MS = 20;

const root = path.resolve(import.meta.dirname, '../..');
const port = await freePort();
let service = await startService();

async function startService(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [path.join(root, 'src/sample/campaign-service.ts')], {
    env: { PATH: process.env['PATH'] ?? '', SAMPLE_PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(createInterface({ input: child.stdout }), 'line');
  return child;
}

interface Outage {
  readonly name: string;
  start(): Promise<void>;
  end(): Promise<void>;
}

const serviceOutages: readonly Outage[] = [
  {
    name: 'campaign service killed',
    start: async () => {
      service.kill('SIGKILL');
      await once(service, 'exit');
    },
    end: async () => {
      service = await startService();
    },
  },
  {
    name: 'campaign service paused',
    start: async () => void service.kill('SIGSTOP'),
    end: async () => void service.kill('SIGCONT'),
  },
];

const stack = await Stack.start();
stack.redisTimeouts = {};
const redisOutages: readonly Outage[] = [
  {
    name: 'Redis killed',
    start: async () => {
      await stack.redis.client.save(); // Restarted, it still has its keys.
      await stack.redis.kill();
    },
    end: () => stack.redis.launch(),
  },
  { name: 'Redis paused', start: async () => stack.redis.freeze(), end: async () => stack.redis.thaw() },
];
const outages = values.redis ? redisOutages : serviceOutages;
const gateway = await stack.gatewayProcess({
  CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${port}`,
  CACHE_TTL_MS: values.cache ? '30000' : '0',
});
const key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
const send = (number: number, loadStartedAt: number) =>
  read(gateway, key, `ag_north/campaigns/cmp_${(number % 10) + 1}`, loadStartedAt);
const measureResources = () => ({
  megabytes: residentMegabytes(gateway),
  descriptors: readdirSync(`/proc/${gateway.process.pid}/fd`).length,
});

/** Responses per second to 32 closed-loop clients. */
async function measureCapacity(): Promise<number> {
  const endsAt = performance.now() + 5000;
  let completed = 0;
  const client = async () => {
    while (performance.now() < endsAt) {
      await send(completed, 0);
      completed++;
    }
  };
  await Promise.all(Array.from({ length: 32 }, client));
  return completed / 5;
}

await measureCapacity(); // Warm-up.
const rate = Math.min(MAX_RATE, (values.redis ? 0.5 : 0.75) * (await measureCapacity()));
const normal = await openLoop({ rate, seconds: 5 }, send);
const normalP99 = percentile(
  normal.map(({ ms }) => ms),
  0.99,
);
closeConnections();
await pause(10_000);
const before = measureResources();
console.log(
  `${Math.round(rate)} requests/s, p99 without outages ${normalP99.toFixed(1)} ms, ${JSON.stringify(before)}`,
);

/** From the end of one outage to the start of the next, in milliseconds since the load started. */
const recoveries: { readonly after: string; readonly from: number; to: number }[] = [];
const startedAt = performance.now();
const now = () => performance.now() - startedAt;

async function causeOutages(): Promise<void> {
  for (let n = 0; now() < seconds * 1000 - OUTAGE_INTERVAL_MS; n++) {
    await pause(OUTAGE_INTERVAL_MS - OUTAGE_MS);
    const previous = recoveries.at(-1);
    if (previous) previous.to = now();
    const outage = outages[n % outages.length] as Outage;
    await outage.start();
    await pause(OUTAGE_MS);
    await outage.end();
    recoveries.push({ after: outage.name, from: now(), to: seconds * 1000 });
  }
}
const [outcomes] = await Promise.all([openLoop({ rate, seconds }, send), causeOutages()]);

const statuses: Record<number, number> = {};
for (const { status } of outcomes) statuses[status] = (statuses[status] ?? 0) + 1;
console.log(
  `responses by status: ${JSON.stringify(statuses)}; slowest ${Math.max(...outcomes.map(({ ms }) => ms)).toFixed(0)} ms`,
);

const allowed = values.redis ? ['200'] : ['200', '429', '502'];
let hasPassed = Object.keys(statuses).every((status) => allowed.includes(status));
if (values.redis) {
  const isAvailable = (at: number) => recoveries.some(({ from, to }) => at >= from && at < to);
  const first = recoveries[0]?.from ?? 0;
  const latencies = outcomes.filter(({ sentAt }) => sentAt > first && !isAvailable(sentAt)).map(({ ms }) => ms);
  const p99 = percentile(latencies, 0.99);
  console.log(`p99 while Redis was unavailable ${p99.toFixed(1)} ms, ${latencies.length} responses`);
  hasPassed &&= p99 < normalP99 + REDIS_OUTAGE_P99_MS;
}
for (const { after, from, to } of recoveries) {
  const sent = outcomes.filter(({ sentAt }) => sentAt >= from && sentAt < to - 100);
  const lastFailure = sent.filter(({ status }) => status !== 200).at(-1);
  const recovered = sent.filter(({ sentAt }) => sentAt >= from + RECOVERY_MS);
  const p99 = percentile(
    recovered.map(({ ms }) => ms),
    0.99,
  );
  const failedFor = lastFailure ? `${(lastFailure.sentAt - from).toFixed(0)} ms` : 'none';
  console.log(`${after}: last failure after the outage ${failedFor}; after recovery p99 ${p99.toFixed(1)} ms`);
  hasPassed &&= recovered.every(({ status }) => status === 200) && p99 < Math.max(50, 3 * normalP99);
}
closeConnections();
await pause(10_000); // The gateway also closes its idle connections to the campaign service.
const after = measureResources();
console.log(`resources before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`);
hasPassed &&= after.descriptors <= before.descriptors + 2 && after.megabytes < before.megabytes + 60;
const errors = gateway.log.filter(({ level, status }) => level === 'fatal' || status === 500);
if (errors.length > 0) console.log('internal errors', errors.slice(0, 3));
hasPassed &&= errors.length === 0;
service.kill('SIGKILL');
await stack.stop();
console.log(hasPassed ? 'passed' : 'FAILED');
process.exit(hasPassed ? 0 : 1);
