import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Scenario } from './client.ts';
import { atRest, tail } from './latency.ts';
import { barChart } from './plot.ts';
import { redisShare } from './redis-share.ts';
import { type Figures, Rig, type Target } from './rig.ts';
import { growth } from './scaling.ts';

/**
 * What a request costs, beside the floor of the runtime and, with `--nginx`, beside Debian's nginx with Lua doing the same job.
 * `--growth`: what it costs with more connections, keys, campaigns, bytes and workers. `--tail`: how long requests take at
 * half the capacity, what is asked of Redis, what memory is taken and how long a start is. Linux tells the CPU time.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    out: { type: 'string', default: 'bench-results' },
    nginx: { type: 'boolean', default: false },
    growth: { type: 'boolean', default: false },
    tail: { type: 'boolean', default: false },
  },
});
const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];

const scenarios: Readonly<Record<Scenario, string>> = {
  hit: 'one key, one campaign, in memory',
  spread: '32 keys, 5,000 campaigns, in memory',
  miss: 'each request another campaign',
  zipf: '32 keys, 10,000 campaigns by Zipf’s law',
};

/** The one in the middle by CPU time: all its figures are of one round. */
function typical(all: readonly Figures[]): Figures {
  const sorted = [...all].sort((a, b) => a.microseconds - b.microseconds || b.perSecond - a.perSecond);
  return sorted[Math.floor(sorted.length / 2)] as Figures;
}

async function compare(rig: Rig): Promise<Map<string, Figures>> {
  const starts: Record<string, () => Promise<Target>> = { floor: () => rig.floor(), gateway: () => rig.gateway() };
  if (values.nginx) starts['nginx'] = () => rig.nginx();
  const found = new Map<string, Figures[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, begin] of Object.entries(starts)) {
      const target = await begin();
      for (const scenario of Object.keys(scenarios) as Scenario[]) {
        const campaigns = scenario === 'zipf' ? 10_000 : 5000;
        await rig.warm(target, { scenario, campaigns });
        const figures = await rig.measure(target, { scenario, campaigns, seconds });
        const row = `${scenario} ${name}`;
        found.set(row, [...(found.get(row) ?? []), figures]);
      }
      await target.stop();
    }
  }
  return new Map([...found].map(([row, all]) => [row, typical(all)]));
}

function table(found: ReadonlyMap<string, Figures>): string {
  const base = values.nginx ? 'nginx' : 'floor';
  const names = ['floor', 'gateway', ...(values.nginx ? ['nginx'] : [])];
  const rows = Object.entries(scenarios).flatMap(([scenario, what]) =>
    names.map((name) => {
      const figures = found.get(`${scenario} ${name}`) as Figures;
      const ratio = figures.microseconds / (found.get(`${scenario} ${base}`) as Figures).microseconds;
      const numbers = [figures.microseconds.toFixed(1), ratio.toFixed(2), figures.perSecond.toFixed(0)];
      const times = [figures.p50, figures.p99].map((ms) => ms.toFixed(2));
      return `| ${[`${scenario}: ${what}`, name, ...numbers, ...times, figures.not200].join(' | ')} |`;
    }),
  );
  const head = `| | | CPU µs a request | × ${base} | requests/s | p50 ms | p99 ms | not 200 |`;
  return [head, '|---|---|---|---|---|---|---|---|', ...rows].join('\n');
}

function plot(found: ReadonlyMap<string, Figures>): string {
  const bars = [...found].map(([row, { microseconds }]) => ({ label: row, value: microseconds }));
  return barChart('CPU µs a request', bars);
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(values.out, { recursive: true });
  await writeFile(path.join(values.out, file), text);
  console.log(`(written to ${path.join(values.out, file)})`);
}

const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
console.log(machine);
const rig = await Rig.start(values.growth ? 100_000 : 32);
try {
  if (values.growth) {
    const { text, svg } = await growth(rig, seconds);
    console.log(text);
    await write('growth.md', `${machine}\n\n${text}\n`);
    await write('growth.svg', svg);
  } else if (values.tail) {
    const text = [await tail(rig, seconds), await redisShare(rig, seconds), await atRest(rig)].join('\n\n');
    console.log(text);
    await write('tail.md', `${machine}\n\n${text}\n`);
  } else {
    const found = await compare(rig);
    console.log(table(found));
    await write('bench.md', `${machine}\n\n${table(found)}\n`);
    await write('bench.svg', plot(found));
  }
} finally {
  await rig.stop();
}
process.exit(0);
