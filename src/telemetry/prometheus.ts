import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import type { ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { Snapshot } from './snapshot.ts';

export const prometheusContentType = 'text/plain; version=0.0.4; charset=utf-8';

/** OpenTelemetry's units, as Prometheus names them. */
const UNITS: Readonly<Record<string, string>> = { s: 'seconds', By: 'bytes' };

const serializer = new PrometheusSerializer(undefined, false, undefined, true, true);

export function prometheusText(snapshot: Snapshot): string {
  const resource = { attributes: {} } as ResourceMetrics['resource']; // Told to nobody.
  const metrics = snapshot.map((metric) => ({ ...metric, descriptor: withPrometheusUnit(metric.descriptor) }));
  return serializer.serialize({ resource, scopeMetrics: [{ scope: { name: 'campaign-gateway' }, metrics }] });
}

/** The serialiser adds `_total` to counters, and no unit to anything. */
function withPrometheusUnit(descriptor: Snapshot[number]['descriptor']): Snapshot[number]['descriptor'] {
  const unit = UNITS[descriptor.unit] ?? '';
  const hasUnit = unit === '' || descriptor.name.endsWith(unit);
  return { ...descriptor, unit, name: hasUnit ? descriptor.name : `${descriptor.name}_${unit}` };
}
