import type { Exchange } from '../middleware/request-context.ts';
import { formatTraceparent } from '../telemetry/trace-context.ts';
import { version } from '../version.ts';

/** The headers that go to the campaign service, all of them: a list of what is sent, not of what is held back. */
export function upstreamHeaders(token: string | undefined): (exchange: Exchange) => Record<string, string> {
  const fixed = {
    accept: 'application/json',
    'accept-encoding': 'identity',
    'user-agent': `campaign-gateway/${version}`,
    via: '1.1 campaign-gateway', // RFC 9110, section 7.6.3
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
  return (exchange) => ({
    ...fixed,
    traceparent: formatTraceparent(exchange.trace),
    ...(exchange.trace.tracestate !== undefined && {
      tracestate: exchange.trace.tracestate,
    }),
    'x-account-group-id': exchange.parameters['accountGroupId'] ?? '',
    'x-api-key-id': exchange.authenticatedKey.id,
    'x-forwarded-for': exchange.clientAddress,
  });
}
