import type { IncomingMessage, ServerResponse } from 'node:http';
import { metrics } from '@opentelemetry/api';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';

type MetricsHandler = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Makes the meters of this process count; before, and without it, they cost nothing and tell nothing. The handler answers
 * with what they have counted, as Prometheus text.
 */
export function startMetrics(): MetricsHandler {
  // No server of its own: the operations listener asks it.
  const exporter = new PrometheusExporter({
    preventServerStart: true,
    withoutScopeInfo: true,
    withoutTargetInfo: true,
  });
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [exporter] }));
  return (request, response) => exporter.getMetricsRequestHandler(request, response);
}
