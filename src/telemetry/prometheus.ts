import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import type { ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { Snapshot } from './snapshot.ts';

export const prometheusContentType = 'text/plain; version=0.0.4; charset=utf-8';

/** OpenTelemetry units and their Prometheus suffixes. */
const UNITS: Readonly<Record<string, string>> = { s: 'seconds', By: 'bytes' };

const serializer = new PrometheusSerializer(undefined, false, undefined, true, true);

export function prometheusText(snapshot: Snapshot): string {
  const resource = { attributes: {} } as ResourceMetrics['resource']; // Not serialized.
  const metrics = snapshot.map((metric) => ({ ...metric, descriptor: withPrometheusUnit(metric.descriptor) }));
  return serializer.serialize({ resource, scopeMetrics: [{ scope: { name: 'campaign-gateway' }, metrics }] });
}

/** The serializer adds `_total` to counters but no unit suffix. */
function withPrometheusUnit(descriptor: Snapshot[number]['descriptor']): Snapshot[number]['descriptor'] {
  const unit = UNITS[descriptor.unit] ?? '';
  const hasUnit = unit === '' || descriptor.name.endsWith(unit);
  return { ...descriptor, unit, name: hasUnit ? descriptor.name : `${descriptor.name}_${unit}` };
}
