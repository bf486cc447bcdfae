import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type LoadPlan, load } from '../helpers/load-process.ts';
import { freePort } from '../helpers/redis.ts';
import { campaignPath, Stack } from '../helpers/stack.ts';
import { until } from '../helpers/wait.ts';
import { percentile } from './load.ts';

/**
 * What a gateway still serves in time under more load than it can take: first its capacity (64 clients that ask again at
 * once), then as many requests a second as that and twice as many, whatever becomes of them; and the same without shedding.
 * The gateway has the first core of the machine, the load, Redis and the campaign service have the others.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    times: { type: 'string', default: '1,2' },
    misses: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const IN_TIME_MS = 1000;
/** Open from the start: the cost of a new connection is not what is measured. */
const CONNECTIONS = 15_000;

const pin = (pid: number | undefined, cores: string) => {
  if (availableParallelism() > 1) execFileSync('taskset', ['-a', '-cp', cores, String(pid)], { stdio: 'ignore' });
};
pin(process.pid, `1-${Math.max(1, availableParallelism() - 1)}`);

const stack = await Stack.start();
const key = await stack.key({ rateLimits: ['100000000/1s'] });
setInterval(() => {
  stack.upstream.requests.length = 0; // They must not be what fills the machine.
}, 100);
const port = await freePort();
const opsPort = await freePort();

/** Nobody here reads its log: that would take time from the load. */
async function startGateway(first: readonly string[]): Promise<ChildProcess> {
  const args = [...first, path.join(import.meta.dirname, '../../src/main.ts')];
  const gateway = spawn(process.execPath, args, {
    env: {
      ...stack.environment,
      PATH: process.env['PATH'] ?? '',
      NODE_ENV: 'production',
      CACHE_TTL_MS: values.misses ? '0' : '3600000',
      MAX_CONNECTIONS: String(2 * CONNECTIONS),
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
  return gateway;
}

/** What a process has had of its core so far: on a machine that others use too it is not all. */
function cpuSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Requests that were sent and those that were served in time: a second, and a second of CPU time. */
async function run(title: string, gateway: ChildProcess, rate: number, connections: number) {
  const asked = { url: `http://127.0.0.1:${port}`, path: campaignPath, key };
  const plan: LoadPlan = { ...asked, seconds, rate, connections, maxConnections: connections, patienceMs: IN_TIME_MS };
  const before = cpuSeconds(gateway);
  const { sent, unsent, late, refused, goodMs, strange } = await load(plan);
  const cpu = cpuSeconds(gateway) - before;
  const goodInTime = goodMs.filter((ms) => ms <= IN_TIME_MS);
  const perSecond = [sent, goodInTime.length, refused, sent - goodInTime.length - refused];
  const cells = [
    title,
    ...perSecond.map((count) => Math.round(count / seconds)),
    ...[0.5, 0.99].map((share) => percentile(goodInTime, share).toFixed(0)),
    `${((100 * cpu) / seconds).toFixed(0)} %`,
  ];
  console.log(`| ${cells.join(' | ')} |`);
  if (strange.length > 0) console.log(`${unsent + late} late, and: ${strange[0]}`);
  return { sentRate: sent / seconds, sent: sent / cpu, good: goodInTime.length / cpu };
}

async function measure(title: string, args: readonly string[]): Promise<void> {
  const gateway = await startGateway(args);
  console.log(`
| ${title} | sent/s | good/s | refused/s | late/s | p50 ms | p99 ms | of the core |
|---|---|---|---|---|---|---|---|`);
  await run('warming up', gateway, 0, 64);
  const capacity = await run('capacity', gateway, 0, 64);
  const left: string[] = [];
  for (const times of values.times.split(',').map(Number)) {
    const { sent, good } = await run(`${times} ×`, gateway, times * capacity.sentRate, CONNECTIONS);
    const [load, goodput] = [sent, good].map((count) => count / capacity.good);
    left.push(`at ${load?.toFixed(2)} × the capacity ${((goodput ?? 0) * 100).toFixed(0)} % of it`);
  }
  console.log(`\nGood answers for the CPU time that it had: ${left.join(', ')}.`);
  gateway.kill('SIGKILL');
  await once(gateway, 'exit');
}

await measure('as it is', []);
await measure('without shedding', ['--import', path.join(import.meta.dirname, 'without-shedding.ts')]);
await stack.stop();
process.exit(0);
