import {
  defaultResource,
  detectResources,
  type Resource,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from '@opentelemetry/resources';
import type { Logger } from 'pino';
import { version } from '../version.ts';
import { randomHex } from './trace-context.ts';

/**
 * The attributes of all telemetry of this process. As OpenTelemetry specifies, `OTEL_SERVICE_NAME` overrides
 * `OTEL_RESOURCE_ATTRIBUTES`, which overrides the defaults here. The SDK's detectors read both from `process.env`.
 */
export function createResource(defaultServiceName: string, log: Logger): Resource {
  const fromEnvironment = detectResources({ detectors: [resourceAttributesEnvDetector] });
  if (process.env['OTEL_RESOURCE_ATTRIBUTES']?.trim() && Object.keys(fromEnvironment.attributes).length === 0) {
    log.warn('OTEL_RESOURCE_ATTRIBUTES ignored: it is not a list of percent-encoded key=value pairs');
  }
  const defaults = {
    'service.name': defaultServiceName,
    'service.version': version,
    'service.instance.id': randomHex(16),
  };
  return defaultResource()
    .merge(resourceFromAttributes(defaults))
    .merge(fromEnvironment)
    .merge(detectResources({ detectors: [serviceNameEnvDetector] }));
}
