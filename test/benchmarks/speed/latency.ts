import { readFileSync } from 'node:fs';
import type { Scenario } from './client.ts';
import type { Rig } from './rig.ts';

/** Requests that come when they are due, half as many as can be answered: how long each takes from when it was due. */
export async function tail(rig: Rig, seconds: number): Promise<string> {
  const lines = [
    '| at half the capacity | requests/s | p50 ms | p99 ms | p99.9 ms | longest ms | not 200 |',
    '|---|---|---|---|---|---|---|',
  ];
  for (const scenario of ['hit', 'spread', 'miss'] as Scenario[]) {
    const gateway = await rig.gateway();
    await rig.warm(gateway, { scenario });
    const { perSecond } = await rig.measure(gateway, { scenario, seconds });
    const rate = Math.round(perSecond / 2);
    const { p50, p99, p999, max, not200 } = await rig.measure(gateway, { scenario, seconds: 4 * seconds, rate });
    const times = [p50, p99, p999, max].map((ms) => ms.toFixed(1));
    lines.push(`| ${[scenario, rate, ...times, not200].join(' | ')} |`);
    await gateway.stop();
  }
  return lines.join('\n');
}

/** Memory of a gateway at rest, and with its cache full, and how long it takes until it listens. */
export async function atRest(rig: Rig): Promise<string> {
  const startedAt = performance.now();
  const gateway = await rig.gateway();
  const ms = performance.now() - startedAt;
  const rest = residentMegabytes(gateway.pid);
  // Some 1.2 KB each: the 64 MiB that are the default hold fewer than this.
  for (let asked = 0; asked < 80_000; )
    asked += (await rig.measure(gateway, { scenario: 'miss', seconds: 10 })).requests;
  const full = residentMegabytes(gateway.pid);
  await gateway.stop();
  return `It listened ${ms.toFixed(0)} ms after its start, took ${rest} MB at rest and ${full} MB with a full cache of 64 MiB.`;
}

function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}
