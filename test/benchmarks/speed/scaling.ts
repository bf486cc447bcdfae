import { type Bar, barChart } from './plot.ts';
import type { Asked, Rig } from './rig.ts';

interface Step {
  readonly label: string;
  readonly wanted: Asked;
  readonly environment?: Readonly<Record<string, string>>;
  readonly bodyBytes?: number;
}

const unlimited = { CACHE_MAX_BYTES: String(512 * 1024 * 1024) };

const steps: readonly Step[] = [
  ...[1, 10, 100, 1000].map(
    (connections): Step => ({ label: `${connections} connections`, wanted: { scenario: 'hit', connections } }),
  ),
  ...[1, 100, 10_000, 100_000].map(
    (keys): Step => ({ label: `${keys} keys`, wanted: { scenario: 'spread', keys, campaigns: 1 } }),
  ),
  ...[1, 100, 10_000, 100_000].map(
    (campaigns): Step => ({
      label: `${campaigns} campaigns`,
      wanted: { scenario: 'spread', keys: 1, campaigns },
      environment: unlimited,
    }),
  ),
  ...[1, 10, 100, 1000].map(
    (kilobytes): Step => ({
      label: `${kilobytes} KB a document`,
      wanted: { scenario: 'miss' },
      bodyBytes: kilobytes * 1000,
    }),
  ),
  ...[1, 2].map(
    (workers): Step => ({
      label: `${workers} worker${workers > 1 ? 's' : ''}`,
      wanted: { scenario: 'hit' },
      environment: { WORKERS: String(workers) },
    }),
  ),
];

/** What a request costs as one thing grows and all else stays. */
export async function growth(rig: Rig, seconds: number): Promise<{ text: string; svg: string }> {
  const lines = ['| | CPU µs a request | requests/s | p99 ms | not 200 |', '|---|---|---|---|---|'];
  const bars: Bar[] = [];
  for (const { label, wanted, environment, bodyBytes } of steps) {
    const gateway = await rig.gateway(environment, bodyBytes);
    await rig.warm(gateway, wanted);
    const { microseconds, perSecond, p99, not200 } = await rig.measure(gateway, { ...wanted, seconds });
    await gateway.stop();
    lines.push(`| ${label} | ${microseconds.toFixed(1)} | ${perSecond.toFixed(0)} | ${p99.toFixed(1)} | ${not200} |`);
    bars.push({ label, value: microseconds });
  }
  return { text: lines.join('\n'), svg: barChart('CPU µs a request, as one thing grows', bars) };
}
