import { STATUS_CODES } from 'node:http';
import { type Attributes, SpanKind } from '@opentelemetry/api';
import { reasonOf, UpstreamFailure } from '../upstream/failure.ts';
import type { UpstreamReply, UpstreamRequest } from '../upstream/forward.ts';
import { durationHistogram } from './instruments.ts';
import { withSpanId } from './trace-context.ts';
import { endSpan, startSpan } from './tracing.ts';

/**
 * Makes each attempt at the campaign service a measurement and a client span, which the campaign service continues
 * (semantic conventions for HTTP clients, stable). `resends`: how many attempts there were before it.
 */
export function observeAttempts(
  target: URL,
  forward: (request: UpstreamRequest) => Promise<UpstreamReply>,
): (request: UpstreamRequest, resends: number) => Promise<UpstreamReply> {
  const duration = durationHistogram('http.client.request.duration', 'Duration of attempts at the campaign service');
  const base = target.href.replace(/\/$/, '');
  const service = {
    'http.request.method': 'GET',
    'server.address': target.hostname.replace(/^\[|\]$/g, ''),
    'server.port': Number(target.port) || (target.protocol === 'https:' ? 443 : 80),
  };

  return async function attempt(request, resends) {
    const startedAt = performance.now();
    const span = startSpan('GET', SpanKind.CLIENT);
    const end = (attributes: Attributes, errorType?: string) => {
      const all = { ...service, ...attributes };
      duration.record((performance.now() - startedAt) / 1000, errorType ? { ...all, 'error.type': errorType } : all);
      if (!span) return;
      const resent = resends > 0 && { 'http.request.resend_count': resends };
      endSpan(span, { ...all, 'url.full': base + request.path, ...resent }, errorType);
    };
    try {
      const { traceparent = '' } = request.headers;
      const headers = span && { ...request.headers, traceparent: withSpanId(traceparent, span.spanContext().spanId) };
      const reply = await forward(headers ? { ...request, headers } : request);
      end(statusAttribute(reply.status));
      return reply;
    } catch (error) {
      if (error instanceof UpstreamFailure) end(statusAttribute(error.status), reasonOf(error));
      else end({}, 'bug');
      throw error;
    }
  };
}

/** A status that HTTP knows: a label takes nothing that a server may make up. */
function statusAttribute(status: number | undefined): Attributes {
  return status !== undefined && status in STATUS_CODES ? { 'http.response.status_code': status } : {};
}
