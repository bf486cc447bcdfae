import type { Attributes } from '@opentelemetry/api';
import { OTHER_METHOD, telemetryMethod } from '../telemetry/http-method.ts';
import { endSpan } from '../telemetry/tracing.ts';
import type { CompletedRequest } from './request-telemetry.ts';

/** Ends the request's span (OpenTelemetry semantic conventions for HTTP servers, stable). */
export function endServerSpan(completed: CompletedRequest): void {
  const { request, context, route, status, reason } = completed;
  const { span } = context;
  if (!span) return;
  const method = telemetryMethod(request);
  span.updateName([method === OTHER_METHOD ? 'HTTP' : method, route].filter(Boolean).join(' '));
  // A server span is an error only for the server's own failures.
  const errorType = status >= 500 ? (reason ?? String(status)) : undefined;
  endSpan(span, spanAttributes(completed, method), errorType);
}

/** Undefined attributes are omitted. The path is included only once validated: it may contain anything, a key included. */
function spanAttributes({ request, context, route, status }: CompletedRequest, method: string): Attributes {
  const isValidated = Object.keys(context.parameters).length > 0;
  return {
    'http.request.method': method,
    'http.route': route,
    'http.response.status_code': status,
    'url.scheme': 'http',
    'url.path': isValidated ? request.path : undefined,
    'network.protocol.version': request.httpVersion,
    'client.address': context.clientAddress,
    'campaign_gateway.key.id': context.key?.id,
    'campaign_gateway.error.code': context.error?.code,
    'campaign_gateway.error.reason': context.error?.reason,
    'campaign_gateway.cache.outcome': context.cache?.outcome,
  };
}
