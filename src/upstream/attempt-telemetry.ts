import { STATUS_CODES } from 'node:http';
import { SpanKind } from '@opentelemetry/api';
import { durationHistogram } from '../telemetry/histogram.ts';
import { withSpanId } from '../telemetry/trace-context.ts';
import { endSpan, startSpan } from '../telemetry/tracing.ts';
import type { UpstreamReply, UpstreamRequest } from './attempt.ts';
import { getErrorType, UpstreamFailure } from './failure.ts';

/**
 * Records a duration and a client span for each attempt (OpenTelemetry semantic conventions for HTTP clients). The campaign
 * service continues the span through `traceparent`. `previousAttempts` counts earlier attempts for the same request.
 */
export function instrumentAttempts(
  target: URL,
  forward: (request: UpstreamRequest) => Promise<UpstreamReply>,
): (request: UpstreamRequest, previousAttempts: number) => Promise<UpstreamReply> {
  const measure = durationHistogram(
    'http.client.request.duration',
    'Duration of HTTP requests to the campaign service, per attempt',
    ['http.request.method', 'server.address', 'server.port', 'http.response.status_code', 'error.type'],
  );
  const base = target.href.replace(/\/$/, '');
  const address = target.hostname.replace(/^\[|\]$/g, '');
  const port = Number(target.port) || (target.protocol === 'https:' ? 443 : 80);

  return async function attempt(request, previousAttempts) {
    const startedAt = performance.now();
    const span = startSpan('GET', SpanKind.CLIENT);
    const end = (receivedStatus: number | undefined, errorType?: string) => {
      // Only registered status codes, so that the server cannot create arbitrary series.
      const status = receivedStatus !== undefined && receivedStatus in STATUS_CODES ? receivedStatus : undefined;
      measure((performance.now() - startedAt) / 1000, 'GET', address, port, status ?? '', errorType ?? '');
      const attributes = {
        'http.request.method': 'GET',
        'server.address': address,
        'server.port': port,
        'url.full': base + request.path,
        'http.response.status_code': status,
        'http.request.resend_count': previousAttempts > 0 ? previousAttempts : undefined,
      };
      endSpan(span, attributes, errorType);
    };
    try {
      const { traceparent = '' } = request.headers;
      const headers = span && { ...request.headers, traceparent: withSpanId(traceparent, span.spanContext().spanId) };
      const reply = await forward(headers ? { ...request, headers } : request);
      end(reply.status);
      return reply;
    } catch (error) {
      if (error instanceof UpstreamFailure) end(error.status, getErrorType(error));
      else end(undefined, 'internal');
      throw error;
    }
  };
}
