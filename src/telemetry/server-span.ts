import type { Attributes } from '@opentelemetry/api';
import type { Exchange } from '../exchange.ts';
import { endSpan } from './tracing.ts';

/** nginx's number for a client that went away before it had its answer. */
export const CLIENT_CLOSED_REQUEST = 499;

/** What was answered; 499 where the client had gone. */
export function statusOf({ response }: Exchange): number {
  return response.writableFinished ? response.statusCode : CLIENT_CLOSED_REQUEST;
}

/** Ends the span of a request with all that is known of it (semantic conventions for HTTP servers, stable). */
export function endServerSpan(exchange: Exchange): void {
  const { span, request, route, error } = exchange;
  if (!span) return;
  const status = statusOf(exchange);
  const method = KNOWN_METHODS.has(request.method ?? '') ? request.method : undefined;
  span.updateName([method ?? 'HTTP', route].filter(Boolean).join(' '));
  // Of a server only its own failures are errors (the conventions' rule on status codes).
  const errorType = status >= 500 ? (error?.reason ?? String(status)) : undefined;
  endSpan(span, { ...describeRequest(exchange, method), 'http.response.status_code': status }, errorType);
}

/** What is undefined is left out. Of the path nothing that has not been checked: it may hold anything, a key too. */
function describeRequest({ request, route, parameters, ...rest }: Exchange, method: string | undefined): Attributes {
  const isChecked = Object.keys(parameters).length > 0;
  return {
    'http.request.method': method ?? '_OTHER',
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

/** RFC 9110, section 9.1, and PATCH (RFC 5789): others could be anything. */
export const KNOWN_METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
]);
