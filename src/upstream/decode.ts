import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, type ZlibOptions, zstdDecompress } from 'node:zlib';
import { UpstreamFailure } from './failure.ts';
import type { UpstreamReply } from './forward.ts';

type Decode = (body: Buffer, options: ZlibOptions) => Promise<Buffer>;

/** Content codings (RFC 9110, section 8.4.1). Identity is asked for; what stands before a service may compress all the same. */
const codings: Readonly<Record<string, Decode>> = {
  gzip: promisify(gunzip) as Decode,
  'x-gzip': promisify(gunzip) as Decode,
  deflate: promisify(inflate) as Decode,
  br: promisify(brotliDecompress) as Decode,
  zstd: promisify(zstdDecompress) as Decode,
};

/** Undoes a content coding, and stops where the result would be longer than `maxBytes`. Rejects with `UpstreamFailure`. */
export async function decodeReply(reply: UpstreamReply, maxBytes: number): Promise<UpstreamReply> {
  const [coding, another] = contentCodings(reply);
  if (reply.outcome === 'missing' || coding === undefined) return reply;
  const decode = Object.hasOwn(codings, coding) && another === undefined ? codings[coding] : undefined;
  if (!decode) throw new UpstreamFailure('not_json', 'the body is in a content coding that is not known');
  try {
    return { ...reply, body: await decode(reply.body, { maxOutputLength: maxBytes }) };
  } catch (error) {
    throw toUpstreamFailure(error as NodeJS.ErrnoException, maxBytes);
  }
}

function contentCodings({ headers }: UpstreamReply): string[] {
  const names = (headers['content-encoding'] ?? '').split(',').map((name) => name.trim().toLowerCase());
  return names.filter((name) => name !== '' && name !== 'identity');
}

function toUpstreamFailure(error: NodeJS.ErrnoException, maxBytes: number): UpstreamFailure {
  switch (error.code) {
    case 'ERR_BUFFER_TOO_LARGE':
      return new UpstreamFailure('too_large', `the body is longer than ${maxBytes} bytes when it is decoded`);
    case 'Z_BUF_ERROR':
      return new UpstreamFailure('truncated', 'the encoded body has no end');
    default:
      return new UpstreamFailure('not_json', 'the body is not in the coding that it says', { cause: error });
  }
}
