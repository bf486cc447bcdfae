import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { version } from '../version.ts';
import { gauge, gauges } from './instruments.ts';

const RESOLUTION_MS = 10;

/** Shows how this process fares: the delay and the use of its event loop since the last collection, memory, version. */
export function registerProcessMetrics(): void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  // Node measures the time from one tick to the next, of which the tick itself is no delay.
  const seconds = (ns: number) => (delay.count === 0 ? 0 : Math.max(0, ns / 1e9 - RESOLUTION_MS / 1000));
  const options = (what: string) => ({ description: `${what} since the last collection`, unit: 's' });
  gauges(
    {
      'nodejs.eventloop.delay.p50': options('Median delay of the event loop'),
      'nodejs.eventloop.delay.p99': options('99th percentile of the delay of the event loop'),
      'nodejs.eventloop.delay.max': options('Longest delay of the event loop'),
    },
    () => {
      const [p50, p99, max] = [delay.percentile(50), delay.percentile(99), delay.max].map(seconds);
      delay.reset();
      return {
        'nodejs.eventloop.delay.p50': p50 ?? 0,
        'nodejs.eventloop.delay.p99': p99 ?? 0,
        'nodejs.eventloop.delay.max': max ?? 0,
      };
    },
  );
  let before = performance.eventLoopUtilization();
  const utilization = { description: 'Share of the time since the last collection that the event loop was busy' };
  gauge('nodejs.eventloop.utilization', utilization, () => {
    const now = performance.eventLoopUtilization();
    const since = performance.eventLoopUtilization(now, before);
    before = now;
    return since.utilization || 0; // Not a number where no time has passed.
  });
  const memory = { description: 'Resident memory', unit: 'By' };
  gauge('process.memory.usage', memory, () => process.memoryUsage.rss());
  const build = { description: 'Always 1; the versions are in the labels' };
  gauge('campaign_gateway.build_info', build, () => 1, { version, node: process.version });
}
