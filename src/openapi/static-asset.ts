import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Request, RequestHandler, Response } from 'express';
import { computeEtag, matchesEtag } from '../http/etag.ts';

interface Representation {
  readonly body: Buffer;
  readonly etag: string;
}

const compress = promisify(gzip);

/** Serves bytes that never change while the process runs, compressed for clients that accept it. Needs no key. */
export function serveAsset(contentType: string, content: string | Buffer): RequestHandler {
  const identity = toRepresentation(Buffer.from(content));
  let gzipped: Promise<Representation> | undefined;
  const getGzipped = () => {
    gzipped ??= compress(identity.body).then(toRepresentation);
    gzipped.catch(() => {
      gzipped = undefined; // The next request tries again.
    });
    return gzipped;
  };
  return async function serveAsset(request: Request, response: Response): Promise<void> {
    const usesGzip = request.acceptsEncodings('gzip', 'identity') === 'gzip';
    const { body, etag } = usesGzip ? await getGzipped() : identity;
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
function toRepresentation(body: Buffer): Representation {
  return { body, etag: computeEtag(body) };
}
