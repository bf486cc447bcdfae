import { metrics } from '@opentelemetry/api';
import type { CacheReport } from '../cache/cache-status.ts';

const meter = () => metrics.getMeter('campaign-gateway');

/** Shows what the cache of this process holds. */
export function showCacheSize(size: () => { readonly entries: number; readonly bytes: number }): void {
  meter()
    .createObservableGauge('campaign_gateway.cache.bytes', { description: 'Bytes of the in-process cache' })
    .addCallback((gauge) => gauge.observe(size().bytes));
  meter()
    .createObservableGauge('campaign_gateway.cache.entries', { description: 'Entries of the in-process cache' })
    .addCallback((gauge) => gauge.observe(size().entries));
}

/** Counts what the cache did for each request that asked it. */
export function cacheReadCounter(): (report: CacheReport) => void {
  const reads = meter().createCounter('campaign_gateway.cache.reads', {
    description: 'Reads that asked the cache, by what came of it',
  });
  return ({ outcome }) => reads.add(1, labels[outcome]);
}

const labels: Readonly<Record<CacheReport['outcome'], { readonly outcome: string }>> = {
  hit: { outcome: 'hit' },
  stale: { outcome: 'stale' },
  stale_if_error: { outcome: 'stale_if_error' },
  miss: { outcome: 'miss' },
  collapsed: { outcome: 'collapsed' },
  bypass: { outcome: 'bypass' },
};
