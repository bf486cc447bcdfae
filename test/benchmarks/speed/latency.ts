import { readFileSync } from 'node:fs';
import type { Scenario } from './client.ts';
import type { Rig } from './rig.ts';

/** Open-loop load at half the capacity. Latency counts from when a request is due. */
export async function measureLatency(rig: Rig, seconds: number): Promise<string> {
  const lines = [
    '| at half the capacity | requests/s | p50 ms | p99 ms | p99.9 ms | max ms | not 200 |',
    '|---|---|---|---|---|---|---|',
  ];
  for (const scenario of ['hit', 'spread', 'miss'] as Scenario[]) {
    const gateway = await rig.gateway();
    await rig.warmUp(gateway, { scenario });
    const { perSecond } = await rig.measure(gateway, { scenario, seconds });
    const rate = Math.round(perSecond / 2);
    const { p50, p99, p999, max, not200 } = await rig.measure(gateway, { scenario, seconds: 4 * seconds, rate });
    const times = [p50, p99, p999, max].map((ms) => ms.toFixed(1));
    lines.push(`| ${[scenario, rate, ...times, not200].join(' | ')} |`);
    await gateway.stop();
  }
  return lines.join('\n');
}

/** Start-up time, and memory when idle and with a full cache. */
export async function measureFootprint(rig: Rig): Promise<string> {
  const startedAt = performance.now();
  const gateway = await rig.gateway();
  const ms = performance.now() - startedAt;
  const idle = residentMegabytes(gateway.pid);
  // An entry takes about 1.2 KB, so the default of 64 MiB holds fewer than this.
  for (let read = 0; read < 80_000; ) read += (await rig.measure(gateway, { scenario: 'miss', seconds: 10 })).requests;
  const full = residentMegabytes(gateway.pid);
  await gateway.stop();
  return `Start-up ${ms.toFixed(0)} ms; resident memory ${idle} MB idle, ${full} MB with a full cache of 64 MiB.`;
}

function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}
