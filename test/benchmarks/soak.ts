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
 * A minute at three quarters of the capacity (`--redis`: half), while the campaign service (or Redis) is killed and paused
 * in turn: what is answered, how soon all is well after each recovery, and what it leaves behind. Ends with 1 where that is not as
 * promised.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    cache: { type: 'boolean', default: false },
    redis: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
/** Every so often it goes, for so long. */
const [EVERY_MS, AWAY_MS] = values.redis ? [14_000, 10_000] : [7000, 1500];
/** Of more the load itself would be the bottleneck. */
const MAX_RATE = 2000;
/** After a recovery all has to be well within this time. */
const PATIENCE_MS = 2000;
/** While Redis is unavailable an answer may take so much longer. */
const REDIS_AWAY_MS = 20;

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
  begin(): Promise<void>;
  end(): Promise<void>;
}

const serviceOutages: readonly Outage[] = [
  {
    name: 'killed',
    begin: async () => {
      service.kill('SIGKILL');
      await once(service, 'exit');
    },
    end: async () => {
      service = await startService();
    },
  },
  {
    name: 'paused',
    begin: async () => void service.kill('SIGSTOP'),
    end: async () => void service.kill('SIGCONT'),
  },
];

const stack = await Stack.start();
stack.redisTimeouts = {};
const redisOutages: readonly Outage[] = [
  {
    name: 'Redis killed',
    begin: async () => {
      await stack.redis.client.save(); // It comes back with its keys.
      await stack.redis.kill();
    },
    end: () => stack.redis.launch(),
  },
  { name: 'Redis paused', begin: async () => stack.redis.freeze(), end: async () => stack.redis.thaw() },
];
const outages = values.redis ? redisOutages : serviceOutages;
const gateway = await stack.gatewayProcess({
  CAMPAIGN_SERVICE_URL: `http://127.0.0.1:${port}`,
  CACHE_TTL_MS: values.cache ? '30000' : '0',
});
const key = await stack.key({ accountGroupIds: '*', rateLimits: ['1000000/1s'] });
const send = (number: number, since: number) =>
  read(gateway, key, `ag_north/campaigns/cmp_${(number % 10) + 1}`, since);
const descriptors = () => readdirSync(`/proc/${gateway.process.pid}/fd`).length;
const remains = () => ({ megabytes: residentMegabytes(gateway), descriptors: descriptors() });

/** What it can answer a second: as many as 32 clients get who do not wait between two requests. */
async function capacity(): Promise<number> {
  const until = performance.now() + 5000;
  let answered = 0;
  const client = async () => {
    while (performance.now() < until) {
      await send(answered, 0);
      answered++;
    }
  };
  await Promise.all(Array.from({ length: 32 }, client));
  return answered / 5;
}

await capacity(); // The first one warms up.
const rate = Math.min(MAX_RATE, (values.redis ? 0.5 : 0.75) * (await capacity()));
const normal = await openLoop({ rate, seconds: 5 }, send);
const normalP99 = percentile(
  normal.map(({ ms }) => ms),
  0.99,
);
closeConnections();
await pause(10_000);
const before = remains();
console.log(`${Math.round(rate)} requests/s, p99 ${normalP99.toFixed(1)} ms undisturbed, ${JSON.stringify(before)}`);

/** From each return to the next going, in milliseconds since the load began. */
const calms: { readonly after: string; readonly from: number; to: number }[] = [];
const startedAt = performance.now();
const now = () => performance.now() - startedAt;

async function disturb(): Promise<void> {
  for (let n = 0; now() < seconds * 1000 - EVERY_MS; n++) {
    await pause(EVERY_MS - AWAY_MS);
    const calm = calms.at(-1);
    if (calm) calm.to = now();
    const outage = outages[n % outages.length] as (typeof outages)[number];
    await outage.begin();
    await pause(AWAY_MS);
    await outage.end();
    calms.push({ after: outage.name, from: now(), to: seconds * 1000 });
  }
}
const [outcomes] = await Promise.all([openLoop({ rate, seconds }, send), disturb()]);

const statuses: Record<number, number> = {};
for (const { status } of outcomes) statuses[status] = (statuses[status] ?? 0) + 1;
console.log(
  `answers by status: ${JSON.stringify(statuses)}; slowest ${Math.max(...outcomes.map(({ ms }) => ms)).toFixed(0)} ms`,
);

const allowed = values.redis ? ['200'] : ['200', '429', '502'];
let isAsPromised = Object.keys(statuses).every((status) => allowed.includes(status));
if (values.redis) {
  const isCalm = (at: number) => calms.some(({ from, to }) => at >= from && at < to);
  const first = calms[0]?.from ?? 0;
  const times = outcomes.filter(({ at }) => at > first && !isCalm(at)).map(({ ms }) => ms);
  const p99 = percentile(times, 0.99);
  console.log(`p99 while Redis was away ${p99.toFixed(1)} ms, of ${times.length} answers`);
  isAsPromised &&= p99 < normalP99 + REDIS_AWAY_MS;
}
for (const { after, from, to } of calms) {
  const sent = outcomes.filter(({ at }) => at >= from && at < to - 100);
  const last = sent.filter(({ status }) => status !== 200).at(-1);
  const settled = sent.filter(({ at }) => at >= from + PATIENCE_MS);
  const times = settled.map(({ ms }) => ms);
  const isWell = settled.every(({ status }) => status === 200) && percentile(times, 0.99) < Math.max(50, 3 * normalP99);
  const lastMs = last ? `${(last.at - from).toFixed(0)} ms` : 'none';
  console.log(`${after}: last failure after its return ${lastMs}; then p99 ${percentile(times, 0.99).toFixed(1)} ms`);
  isAsPromised &&= isWell;
}
closeConnections();
await pause(10_000); // The kept ones to the campaign service end too.
const left = remains();
console.log(`before ${JSON.stringify(before)}, afterwards ${JSON.stringify(left)}`);
isAsPromised &&= left.descriptors <= before.descriptors + 2 && left.megabytes < before.megabytes + 60;
const bugs = gateway.log.filter(({ level, status }) => level === 'fatal' || status === 500);
if (bugs.length > 0) console.log('bugs', bugs.slice(0, 3));
service.kill('SIGKILL');
await stack.stop();
console.log(isAsPromised && bugs.length === 0 ? 'as promised' : 'NOT as promised');
process.exit(isAsPromised && bugs.length === 0 ? 0 : 1);
