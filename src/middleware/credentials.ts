import type { IncomingMessage } from 'node:http';
import type { Stage } from './pipeline.ts';

/** The key that a request shows. `ambiguous`: two different ones, or one header more than once. */
export type Credentials =
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'ambiguous' }
  | { readonly kind: 'other_scheme' };

/** Reads `X-API-Key: KEY` and `Authorization: Bearer KEY`. An empty one is as none. */
export function extractCredentials(request: IncomingMessage): Credentials {
  const { authorization } = request.headers;
  const header = request.headers['x-api-key']; // Node joins several with a comma, which no key contains.
  const apiKey = typeof header === 'string' && header !== '' ? header : undefined;
  // Of several Authorization headers Node shows the first alone.
  if (authorization !== undefined && countHeader(request, 'authorization') > 1) return { kind: 'ambiguous' };
  if (!authorization) return apiKey === undefined ? { kind: 'none' } : { kind: 'key', key: apiKey };

  const match = /^Bearer(?:[ \t]+(.*))?$/i.exec(authorization);
  if (!match) return { kind: 'other_scheme' };
  const bearer = match[1]?.trim() || undefined;
  if (bearer !== undefined && apiKey !== undefined && bearer !== apiKey) return { kind: 'ambiguous' };
  const key = apiKey ?? bearer;
  return key === undefined ? { kind: 'none' } : { kind: 'key', key };
}

/** A stage that is passed over by requests that show no key, not even a bad one. */
export function ifKeyPresented(stage: Stage): Stage {
  return function ifKeyPresented(exchange) {
    return extractCredentials(exchange.request).kind === 'none' ? undefined : stage(exchange);
  };
}

function countHeader(request: IncomingMessage, name: string): number {
  return request.rawHeaders.filter((text, i) => i % 2 === 0 && text.toLowerCase() === name).length;
}
