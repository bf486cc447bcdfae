import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { version } from '../version.ts';
import { gauge, observableCounter } from './instruments.ts';
import { countDroppedLines } from './log-destination.ts';

/** Registers the metrics of this process. The names of `process.*` give the standard names of Prometheus' client libraries. */
export function registerProcessMetrics(): void {
  registerEventLoopDelay();
  registerEventLoopUtilization();
  const memory = { description: 'Resident memory size in bytes', unit: 'By' };
  gauge('process.resident_memory', memory, () => process.memoryUsage.rss());
  observableCounter('process.cpu', 'Total user and system CPU time in seconds', cpuSeconds, 's');
  const startTime = { description: 'Start time of the process since the Unix epoch in seconds', unit: 's' };
  gauge('process.start_time', startTime, () => performance.timeOrigin / 1000);
  const dropped = 'Log lines dropped because standard output did not accept them';
  observableCounter('campaign_gateway.log.lines_dropped', dropped, countDroppedLines);
  const build = { description: 'Always 1, with the versions of the gateway and of Node.js as labels' };
  gauge('campaign_gateway.build_info', build, () => 1, { version, node: process.version });
}

const RESOLUTION_MS = 10;

function registerEventLoopDelay(): void {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const register = (name: string, description: string, readNs: () => number) => {
    const options = { description: `${description} since the last collection`, unit: 's' };
    // Node measures from tick to tick: the tick interval itself is not delay.
    gauge(`nodejs.eventloop.delay.${name}`, options, () => Math.max(0, readNs() / 1e9 - RESOLUTION_MS / 1000));
  };
  register('p50', 'Median event-loop delay', () => histogram.percentile(50));
  register('p99', '99th percentile of the event-loop delay', () => histogram.percentile(99));
  register('max', 'Maximum event-loop delay', () => {
    const { max } = histogram;
    histogram.reset(); // The last of the three to be read.
    return max;
  });
}

function registerEventLoopUtilization(): void {
  let previous = performance.eventLoopUtilization();
  const options = { description: 'Share of the time since the last collection in which the event loop was busy' };
  gauge('nodejs.eventloop.utilization', options, () => {
    const current = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(current, previous);
    previous = current;
    return utilization || 0; // NaN if no time has passed.
  });
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
