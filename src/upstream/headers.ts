import { formatTraceparent } from '../telemetry/trace-context.ts';
import { version } from '../version.ts';
import type { OriginRequest } from './origin.ts';

/** The headers that go to the campaign service, all of them: a list of what is sent, not of what is held back. */
export function upstreamHeaders(token: string | undefined): (request: OriginRequest) => Record<string, string> {
  const fixed = {
    accept: 'application/json',
    'accept-encoding': 'identity',
    'user-agent': `campaign-gateway/${version}`,
    via: '1.1 campaign-gateway', // RFC 9110, section 7.6.3
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
  return (request) => ({
    ...fixed,
    traceparent: formatTraceparent(request.trace),
    ...(request.trace.tracestate !== undefined && {
      tracestate: request.trace.tracestate,
    }),
    'x-account-group-id': request.parameters['accountGroupId'] ?? '',
    'x-api-key-id': request.keyId,
    'x-forwarded-for': request.clientAddress,
  });
}
