import type { Attributes } from '@opentelemetry/api';
import { OTHER_METHOD, telemetryMethod } from '../telemetry/http-method.ts';
import { endSpan } from '../telemetry/tracing.ts';
import type { Exchange } from './request-context.ts';
import type { Outcome } from './request-outcome.ts';

/** Ends the span of a request with all that is known of it (semantic conventions for HTTP servers, stable). */
export function endServerSpan(exchange: Exchange, { status, reason }: Outcome): void {
  const { span, request, route } = exchange;
  if (!span) return;
  const method = telemetryMethod(request);
  span.updateName([method === OTHER_METHOD ? 'HTTP' : method, route].filter(Boolean).join(' '));
  // Of a server only its own failures are errors (the conventions' rule on status codes).
  const errorType = status >= 500 ? (reason ?? String(status)) : undefined;
  endSpan(span, { ...spanAttributes(exchange, method), 'http.response.status_code': status }, errorType);
}

/** What is undefined is left out. Of the path nothing that has not been checked: it may hold anything, a key too. */
function spanAttributes({ request, route, parameters, ...rest }: Exchange, method: string): Attributes {
  const isChecked = Object.keys(parameters).length > 0;
  return {
    'http.request.method': method,
    'http.route': route,
    'url.scheme': 'http',
    'url.path': isChecked ? request.url?.split('?')[0] : undefined,
    'network.protocol.version': request.httpVersion,
    'client.address': rest.clientAddress,
    'campaign_gateway.key.id': rest.key?.id,
    'campaign_gateway.error.code': rest.error?.code,
    'campaign_gateway.error.reason': rest.error?.reason,
    'campaign_gateway.cache.outcome': rest.cache?.outcome,
  };
}
