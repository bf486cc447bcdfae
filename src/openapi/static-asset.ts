import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { RequestHandler } from 'express';
import { computeEtag, matchesEtag } from '../http/etag.ts';

const compress = promisify(gzip);

/** Serves bytes that never change while the process runs, compressed for clients that accept it. Needs no key. */
export function serveAsset(contentType: string, content: string | Buffer): RequestHandler {
  const identity = withEtag(Buffer.from(content));
  let gzipped: Promise<ReturnType<typeof withEtag>> | undefined;
  return async function serveAsset(request, response) {
    const usesGzip = request.acceptsEncodings('gzip', 'identity') === 'gzip';
    if (usesGzip) {
      gzipped ??= compress(identity.body).then(withEtag);
      gzipped.catch(() => {
        gzipped = undefined; // The next request tries again.
      });
    }
    const { body, etag } = usesGzip && gzipped ? await gzipped : identity;
    response.set({ 'Cache-Control': 'public, no-cache', ETag: etag }).vary('Accept-Encoding');
    if (matchesEtag(request.headers['if-none-match'], etag)) {
      response.status(304).end();
      return;
    }
    if (usesGzip) response.set('Content-Encoding', 'gzip');
    response.set('Content-Type', contentType).send(body);
  };
}

/** Each representation has its own entity tag (RFC 9110, section 8.8.3.3). */
function withEtag(body: Buffer) {
  return { body, etag: computeEtag(body) };
}
