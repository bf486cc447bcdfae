import type { IncomingMessage } from 'node:http';
import type { Handler } from './request-context.ts';

/** Why no key can be read. `ambiguous`: two different keys, or one of the headers more than once. */
export type CredentialsError = 'missing' | 'ambiguous' | 'malformed';

/** Reads `X-API-Key: KEY` and `Authorization: Bearer KEY`. An empty value counts as absent. */
export function extractKey(request: IncomingMessage): { readonly key: string } | CredentialsError {
  const { authorization } = request.headers;
  const apiKey = request.headers['x-api-key'] || undefined; // Node joins repeated headers with a comma, which no key contains.
  // Of repeated Authorization headers Node keeps only the first.
  if (authorization !== undefined && countHeader(request, 'authorization') > 1) return 'ambiguous';

  const match = /^(?:Bearer(?:[ \t]+(.*))?)?$/i.exec(authorization ?? '');
  if (!match) return 'malformed';
  const bearer = match[1]?.trim() || undefined;
  if (bearer !== undefined && apiKey !== undefined && bearer !== apiKey) return 'ambiguous';
  const key = apiKey ?? bearer;
  return typeof key === 'string' ? { key } : 'missing';
}

/** Skips a stage for requests without credentials, valid or not. */
export function ifKeyPresented(handler: Handler): Handler {
  return function ifKeyPresented(request, response, next) {
    if (extractKey(request) === 'missing') next();
    else return handler(request, response, next);
  };
}

function countHeader(request: IncomingMessage, name: string): number {
  return request.rawHeaders.filter((text, i) => i % 2 === 0 && text.toLowerCase() === name).length;
}
