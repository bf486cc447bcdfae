import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { freePort, type OutageKind, outageKinds } from '../helpers/redis.ts';
import { Stack } from '../helpers/stack.ts';
import { type LoadPlan, load, type Outcome, percentile } from './load.ts';

/**
 * Runs a minute of load at 75 % of the capacity (`--redis`: 50 %) while the campaign service (or Redis) is killed and frozen
 * in turn. Prints statuses, recovery times and resource growth. Exits 1 when a promise is broken.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    /** At a higher rate the load generator is the bottleneck. */
    'max-rate': { type: 'string', default: '2000' },
    redis: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const [OUTAGE_INTERVAL_MS, OUTAGE_MS] = values.redis ? [14_000, 10_000] : [7000, 1500];
/** The allowed time to recover after an outage. */
const RECOVERY_MS = 2000;
/** The allowed increase of p99 while Redis is unavailable. */
const REDIS_OUTAGE_P99_MS = 20;
/** The gateway closes idle connections to its clients and to the campaign service within this time. */
const IDLE_MS = 10_000;

const root = path.resolve(import.meta.dirname, '../..');
const port = await freePort();
let service = await startService();

async function startService(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [path.join(root, 'src/sample/campaign-service.ts')], {
    env: { PATH: process.env['PATH'] ?? '', SAMPLE_PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

async function startOutage(kind: OutageKind): Promise<void> {
  if (values.redis) {
    await stack.redis.client.save(); // Restarted, it still has its keys.
    await stack.redis.startOutage(kind);
  } else {
    service.kill(kind === 'killed' ? 'SIGKILL' : 'SIGSTOP');
    if (kind === 'killed') await once(service, 'exit');
  }
}

async function endOutage(kind: OutageKind): Promise<void> {
  if (values.redis) await stack.redis.endOutage(kind);
  else if (kind === 'killed') service = await startService();
  else service.kill('SIGCONT');
}

interface Outage {
  readonly kind: OutageKind;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
}

async function causeOutages(endsAtMs: number): Promise<Outage[]> {
  const outages: Outage[] = [];
  while (performance.now() < endsAtMs - OUTAGE_INTERVAL_MS - 2 * RECOVERY_MS) {
    await pause(OUTAGE_INTERVAL_MS - OUTAGE_MS);
    const kind = outageKinds[outages.length % outageKinds.length] as OutageKind;
    const startedAtMs = performance.now();
    await startOutage(kind);
    await pause(OUTAGE_MS);
    await endOutage(kind);
    outages.push({ kind, startedAtMs, endedAtMs: performance.now() });
  }
  return outages;
}

let hasPassed = true;
function check(isMet: boolean, line: string): void {
  hasPassed &&= isMet;
  console.log(`${isMet ? 'ok    ' : 'FAILED'} ${line}`);
}

const stack = await Stack.start();
stack.redisTimeouts = {};
const gateway = await stack.gatewayProcess({ CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${port}` });
const plan = {
  url: gateway.url,
  keys: [await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] })],
  path: '/v1/accounts/ag_north/campaigns/cmp_',
  campaigns: 10,
};
const send = async (options: Pick<LoadPlan, 'seconds' | 'connections' | 'rate'>) =>
  (await load({ ...plan, ...options })).outcomes;

function measureResources() {
  const folder = `/proc/${gateway.process.pid}`;
  const kilobytes = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`${folder}/status`, 'utf8'))?.[1]);
  return { megabytes: Math.round(kilobytes / 1024), descriptors: readdirSync(`${folder}/fd`).length };
}

/** Statuses, and the latency and status of requests during and after each outage. */
function checkOutcomes(outcomes: readonly Outcome[], outages: readonly Outage[], normalP99: number): void {
  const statuses = Object.entries(Object.groupBy(outcomes, ({ status }) => status));
  const counts = statuses.map(([status, group]) => `${group?.length} of ${status}`);
  const allowed = values.redis ? ['200'] : ['200', '502'];
  check(
    statuses.every(([status]) => allowed.includes(status)),
    `responses by status: ${counts.join(', ')}`,
  );
  for (const [i, { kind, startedAtMs, endedAtMs }] of outages.entries()) {
    const sentBetween = (from: number, to: number) =>
      outcomes.filter(({ sentAtMs }) => sentAtMs >= from && sentAtMs < to);
    // Requests in flight at the start of the next outage may fail.
    const nextOutageMs = (outages[i + 1]?.startedAtMs ?? Number.POSITIVE_INFINITY) - 100;
    const lastFailure = sentBetween(endedAtMs, nextOutageMs).findLast(({ status }) => status !== 200);
    const recovered = sentBetween(endedAtMs + RECOVERY_MS, nextOutageMs);
    const p99 = percentile(recovered, 0.99);
    check(
      recovered.every(({ status }) => status === 200) && p99 < Math.max(50, 3 * normalP99),
      `${kind}: last failure ${((lastFailure?.sentAtMs ?? endedAtMs) - endedAtMs).toFixed(0)} ms after the outage; after recovery p99 ${p99.toFixed(1)} ms`,
    );
    const p99During = percentile(sentBetween(startedAtMs, endedAtMs), 0.99);
    if (values.redis) {
      check(p99During < normalP99 + REDIS_OUTAGE_P99_MS, `${kind}: p99 during the outage ${p99During.toFixed(1)} ms`);
    }
  }
}

async function run(): Promise<void> {
  await send({ seconds: 5, connections: 32 }); // Warm-up.
  const capacity = (await send({ seconds: 5, connections: 32 })).length / 5;
  const rate = Math.min(Number(values['max-rate']), (values.redis ? 0.5 : 0.75) * capacity);
  const normalP99 = percentile(await send({ seconds: 5, connections: 1000, rate }), 0.99);
  await pause(IDLE_MS);
  const before = measureResources();
  console.log(`${Math.round(rate)} requests/s, p99 without outages ${normalP99.toFixed(1)} ms`);

  const [outcomes, outages] = await Promise.all([
    send({ seconds, connections: 1000, rate }),
    causeOutages(performance.now() + seconds * 1000),
  ]);
  checkOutcomes(outcomes, outages, normalP99);
  await pause(IDLE_MS);
  const after = measureResources();
  check(
    after.descriptors <= before.descriptors + 2 && after.megabytes < before.megabytes + 60,
    `resources before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`,
  );
  const errors = gateway.log.filter(({ level, status }) => level === 'fatal' || status === 500);
  check(errors.length === 0, `internal errors ${JSON.stringify(errors.slice(0, 3))}`);
}

try {
  await run();
} finally {
  service.kill('SIGKILL');
  await stack.stop();
}
process.exitCode = hasPassed ? 0 : 1;
