import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestHandler } from 'express';

const READ_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Rejects a write request without the bearer token (RFC 6750) with a 401. Without `token` every request passes. */
export function requireToken(token: string | undefined): RequestHandler {
  const expected = token === undefined ? undefined : hash(token);
  return function requireBearerToken(request, response, next) {
    if (!expected || READ_METHODS.has(request.method)) return next();
    const [, presented = ''] = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '') ?? [];
    if (timingSafeEqual(hash(presented), expected)) return next();
    response.setHeader('www-authenticate', 'Bearer');
    response.status(401).json({ error: 'Send the value of OPS_TOKEN as a bearer token.' });
  };
}

/** Hashes have equal lengths, which `timingSafeEqual` requires. */
function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
