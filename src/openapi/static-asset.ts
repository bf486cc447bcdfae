import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { computeEtag } from '../http/etag.ts';

/** One form of a document as it is sent. */
interface Representation {
  readonly body: string | Buffer;
  readonly etag: string;
}

/** What is the same for everybody, and for as long as the process runs. */
export interface StaticAsset {
  readonly contentType: string;
  readonly identity: Representation;
  /** Compressed when it is first asked for. It has an entity tag of its own (RFC 9110, section 8.8.3.3). */
  gzip(): Promise<Representation>;
}

const compress = promisify(gzip);

export function staticAsset(contentType: string, body: string | Buffer): StaticAsset {
  const etag = computeEtag(body);
  let gzip: Promise<Representation> | undefined;
  return {
    contentType,
    identity: { body, etag },
    gzip: () => {
      gzip ??= compress(body).then((compressed) => ({ body: compressed, etag: computeEtag(compressed) }));
      return gzip;
    },
  };
}

export function jsonAsset(value: unknown): StaticAsset {
  return staticAsset('application/json; charset=utf-8', `${JSON.stringify(value, null, 2)}\n`);
}
