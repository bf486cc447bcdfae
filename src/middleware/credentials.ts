import type { IncomingMessage } from 'node:http';
import type { Handler } from './request-context.ts';

/** The key that a request presents. `ambiguous`: two different keys, or one of the headers more than once. */
export type Credentials =
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'ambiguous' }
  | { readonly kind: 'unsupported_scheme' };

/** Reads `X-API-Key: KEY` and `Authorization: Bearer KEY`. An empty value counts as absent. */
export function extractCredentials(request: IncomingMessage): Credentials {
  const { authorization } = request.headers;
  const header = request.headers['x-api-key']; // Node joins repeated headers with a comma, which no key contains.
  const apiKey = typeof header === 'string' && header !== '' ? header : undefined;
  // Of repeated Authorization headers Node keeps only the first.
  if (authorization !== undefined && countHeader(request, 'authorization') > 1) return { kind: 'ambiguous' };
  if (!authorization) return apiKey === undefined ? { kind: 'none' } : { kind: 'key', key: apiKey };

  const match = /^Bearer(?:[ \t]+(.*))?$/i.exec(authorization);
  if (!match) return { kind: 'unsupported_scheme' };
  const bearer = match[1]?.trim() || undefined;
  if (bearer !== undefined && apiKey !== undefined && bearer !== apiKey) return { kind: 'ambiguous' };
  const key = apiKey ?? bearer;
  return key === undefined ? { kind: 'none' } : { kind: 'key', key };
}

/** Skips a stage for requests without credentials, valid or not. */
export function ifKeyPresented(handler: Handler): Handler {
  return function ifKeyPresented(request, response, next) {
    if (extractCredentials(request).kind === 'none') next();
    else return handler(request, response, next);
  };
}

function countHeader(request: IncomingMessage, name: string): number {
  return request.rawHeaders.filter((text, i) => i % 2 === 0 && text.toLowerCase() === name).length;
}
