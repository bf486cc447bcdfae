import { formatTraceparent } from '../telemetry/trace-context.ts';
import { version } from '../version.ts';
import type { OriginRequest } from './origin.ts';

/** Builds the complete set of upstream request headers. No header of the client is copied. */
export function upstreamHeaders(token: string | undefined): (request: OriginRequest) => Record<string, string> {
  const fixed = {
    accept: 'application/json',
    'accept-encoding': 'identity',
    'user-agent': `campaign-gateway/${version}`,
    via: '1.1 campaign-gateway', // RFC 9110, section 7.6.3
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
  return ({ parameters, trace, keyId, clientAddress }) => ({
    ...fixed,
    traceparent: formatTraceparent(trace),
    ...(trace.tracestate !== undefined && { tracestate: trace.tracestate }),
    'x-account-group-id': parameters['accountGroupId'] ?? '',
    'x-api-key-id': keyId,
    'x-forwarded-for': clientAddress,
  });
}
