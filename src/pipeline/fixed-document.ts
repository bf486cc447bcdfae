import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { entityTag } from '../upstream/interpret.ts';

/** One form of a document as it is sent. */
interface Representation {
  readonly body: string | Buffer;
  readonly etag: string;
}

/** What is the same for everybody, and for as long as the process runs. */
export interface FixedDocument {
  readonly contentType: string;
  readonly plain: Representation;
  /** Compressed when it is first asked for. It has an entity tag of its own (RFC 9110, section 8.8.3.3). */
  gzipped(): Promise<Representation>;
}

const compress = promisify(gzip);

export function fixedDocument(contentType: string, body: string | Buffer): FixedDocument {
  const etag = entityTag(body);
  let gzipped: Promise<Representation> | undefined;
  return {
    contentType,
    plain: { body, etag },
    gzipped: () => {
      gzipped ??= compress(body).then((compressed) => ({ body: compressed, etag: entityTag(compressed) }));
      return gzipped;
    },
  };
}

export function jsonDocument(value: unknown): FixedDocument {
  return fixedDocument('application/json; charset=utf-8', `${JSON.stringify(value, null, 2)}\n`);
}
