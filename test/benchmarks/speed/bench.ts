import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Scenario } from './client.ts';
import { measureFootprint, measureLatency } from './latency.ts';
import { barChart } from './plot.ts';
import { measureRedisUsage } from './redis-usage.ts';
import { type Figures, Rig, type Target } from './rig.ts';
import { measureScaling } from './scaling.ts';

/**
 * Measures the cost of a request against a bare node:http server and, with `--nginx`, against nginx with Lua doing the same
 * work. `--scaling`: the cost with more connections, keys, campaigns, bytes and workers. `--latency`: latency at half the
 * capacity, Redis usage, memory and start-up time. CPU times need Linux.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    out: { type: 'string', default: 'bench-results' },
    nginx: { type: 'boolean', default: false },
    scaling: { type: 'boolean', default: false },
    latency: { type: 'boolean', default: false },
  },
});
const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];

const scenarios: Readonly<Record<Scenario, string>> = {
  hit: 'one key, one campaign, cached locally',
  spread: '32 keys, 5,000 campaigns, cached locally',
  miss: 'a new campaign for each request',
  zipf: '32 keys, 10,000 campaigns with a Zipf distribution',
};

/** The round with the median CPU time. */
function medianRound(all: readonly Figures[]): Figures {
  const sorted = [...all].sort((a, b) => a.microseconds - b.microseconds || b.perSecond - a.perSecond);
  return sorted[Math.floor(sorted.length / 2)] as Figures;
}

async function compare(rig: Rig): Promise<Map<string, Figures>> {
  const starts: Record<string, () => Promise<Target>> = {
    baseline: () => rig.baseline(),
    gateway: () => rig.gateway(),
  };
  if (values.nginx) starts['nginx'] = () => rig.nginx();
  const rows = new Map<string, Figures[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, start] of Object.entries(starts)) {
      const target = await start();
      for (const scenario of Object.keys(scenarios) as Scenario[]) {
        const campaigns = scenario === 'zipf' ? 10_000 : 5000;
        await rig.warmUp(target, { scenario, campaigns });
        const figures = await rig.measure(target, { scenario, campaigns, seconds });
        const row = `${scenario} ${name}`;
        rows.set(row, [...(rows.get(row) ?? []), figures]);
      }
      await target.stop();
    }
  }
  return new Map([...rows].map(([row, all]) => [row, medianRound(all)]));
}

function formatTable(results: ReadonlyMap<string, Figures>): string {
  const base = values.nginx ? 'nginx' : 'baseline';
  const names = ['baseline', 'gateway', ...(values.nginx ? ['nginx'] : [])];
  const rows = Object.entries(scenarios).flatMap(([scenario, description]) =>
    names.map((name) => {
      const figures = results.get(`${scenario} ${name}`) as Figures;
      const ratio = figures.microseconds / (results.get(`${scenario} ${base}`) as Figures).microseconds;
      const numbers = [figures.microseconds.toFixed(1), ratio.toFixed(2), figures.perSecond.toFixed(0)];
      const times = [figures.p50, figures.p99].map((ms) => ms.toFixed(2));
      return `| ${[`${scenario}: ${description}`, name, ...numbers, ...times, figures.not200].join(' | ')} |`;
    }),
  );
  const head = `| | | CPU µs per request | × ${base} | requests/s | p50 ms | p99 ms | not 200 |`;
  return [head, '|---|---|---|---|---|---|---|---|', ...rows].join('\n');
}

function plot(results: ReadonlyMap<string, Figures>): string {
  const bars = [...results].map(([row, { microseconds }]) => ({ label: row, value: microseconds }));
  return barChart('CPU µs per request', bars);
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(values.out, { recursive: true });
  await writeFile(path.join(values.out, file), text);
  console.log(`Written to ${path.join(values.out, file)}`);
}

const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
console.log(machine);
const rig = await Rig.start(values.scaling ? 100_000 : 32);
try {
  if (values.scaling) {
    const { text, svg } = await measureScaling(rig, seconds);
    console.log(text);
    await write('scaling.md', `${machine}\n\n${text}\n`);
    await write('scaling.svg', svg);
  } else if (values.latency) {
    const parts = [
      await measureLatency(rig, seconds),
      await measureRedisUsage(rig, seconds),
      await measureFootprint(rig),
    ];
    const text = parts.join('\n\n');
    console.log(text);
    await write('latency.md', `${machine}\n\n${text}\n`);
  } else {
    const results = await compare(rig);
    const table = formatTable(results);
    console.log(table);
    await write('bench.md', `${machine}\n\n${table}\n`);
    await write('bench.svg', plot(results));
  }
} finally {
  await rig.stop();
}
process.exit(0);
