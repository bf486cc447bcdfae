import { mustCloseAfter } from '../http/check-message.ts';
import { getClientAddress } from '../http/client-address.ts';
import { extractTraceContext } from '../telemetry/trace-context.ts';
import { startServerSpan, withSpan } from '../telemetry/tracing.ts';
import { escapeRawPath } from './raw-path.ts';
import { type GatewayRequest, type GatewayResponse, RequestContext } from './request-context.ts';
import type { RequestTelemetry } from './request-telemetry.ts';

export interface StartRequestOptions {
  /** Whether the caller's sampled flag decides on sampling. */
  readonly trustSampled: boolean;
  readonly onCompleted: RequestTelemetry['onCompleted'];
}

/**
 * Prepares a request for Express: creates its context and span, and reports it once it has ended, whatever its outcome. The
 * server creates both objects from Express's prototypes.
 */
export function startRequest({ trustSampled, onCompleted }: StartRequestOptions) {
  return function startRequest(
    request: GatewayRequest,
    response: GatewayResponse,
    app: (request: GatewayRequest, response: GatewayResponse) => void,
  ): void {
    request.url = escapeRawPath(request.url);
    const { trace, span } = startServerSpan(extractTraceContext(request.headers, trustSampled));
    const context = new RequestContext(trace, span, getClientAddress(request), mustCloseAfter(request));
    response.locals = context;
    response.on('close', () => {
      if (!response.writableFinished) context.abort();
      onCompleted(request, response, context);
    });
    withSpan(span, () => app(request, response));
  };
}
