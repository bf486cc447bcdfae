import { type Bar, barChart } from './plot.ts';
import type { LoadOptions, Rig } from './rig.ts';

interface Step {
  readonly label: string;
  readonly load: LoadOptions;
  readonly environment?: Readonly<Record<string, string>>;
  readonly bodyBytes?: number;
}

const largeCache = { CACHE_MAX_BYTES: String(512 * 1024 * 1024) };

const steps: readonly Step[] = [
  ...[1, 10, 100, 1000].map(
    (connections): Step => ({ label: `${connections} connections`, load: { scenario: 'hit', connections } }),
  ),
  ...[1, 100, 10_000, 100_000].map(
    (keys): Step => ({ label: `${keys} keys`, load: { scenario: 'spread', keys, campaigns: 1 } }),
  ),
  ...[1, 100, 10_000, 100_000].map(
    (campaigns): Step => ({
      label: `${campaigns} campaigns`,
      load: { scenario: 'spread', keys: 1, campaigns },
      environment: largeCache,
    }),
  ),
  ...[1, 10, 100, 1000].map(
    (kilobytes): Step => ({
      label: `${kilobytes} KB per document`,
      load: { scenario: 'miss' },
      bodyBytes: kilobytes * 1000,
    }),
  ),
  ...[1, 2].map(
    (workers): Step => ({
      label: `${workers} worker${workers > 1 ? 's' : ''}`,
      load: { scenario: 'hit' },
      environment: { WORKERS: String(workers) },
    }),
  ),
];

/** The cost of a request as one quantity grows and all others stay the same. */
export async function measureScaling(rig: Rig, seconds: number): Promise<{ text: string; svg: string }> {
  const lines = ['| | CPU µs per request | requests/s | p99 ms | not 200 |', '|---|---|---|---|---|'];
  const bars: Bar[] = [];
  for (const { label, load, environment, bodyBytes } of steps) {
    const gateway = await rig.gateway(environment, bodyBytes);
    await rig.warmUp(gateway, load);
    const { microseconds, perSecond, p99, not200 } = await rig.measure(gateway, { ...load, seconds });
    await gateway.stop();
    lines.push(`| ${label} | ${microseconds.toFixed(1)} | ${perSecond.toFixed(0)} | ${p99.toFixed(1)} | ${not200} |`);
    bars.push({ label, value: microseconds });
  }
  return { text: lines.join('\n'), svg: barChart('CPU µs per request', bars) };
}
