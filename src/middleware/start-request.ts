import { mustCloseAfter } from '../http/check-message.ts';
import { getClientAddress } from '../http/client-address.ts';
import { extractTraceContext } from '../telemetry/trace-context.ts';
import { startServerSpan, withSpan } from '../telemetry/tracing.ts';
import { type Handler, RequestContext } from './request-context.ts';
import type { RequestTelemetry } from './request-telemetry.ts';

export interface StartRequestOptions {
  /** Whether the caller's sampled flag decides on sampling. */
  readonly trustSampled: boolean;
  readonly onCompleted: RequestTelemetry['onCompleted'];
}

/** Creates the request's context and span, and reports the request once it has ended, whatever its outcome. */
export function startRequest({ trustSampled, onCompleted }: StartRequestOptions): Handler {
  return function startRequest(request, response, next) {
    const { trace, span } = startServerSpan(extractTraceContext(request.headers, trustSampled));
    const context = new RequestContext(trace, span, getClientAddress(request), mustCloseAfter(request));
    response.locals = context;
    response.on('close', () => {
      if (!response.writableFinished) context.abort();
      onCompleted(request, response, context);
    });
    withSpan(span, next);
  };
}
