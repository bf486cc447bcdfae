import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, type ZlibOptions, zstdDecompress } from 'node:zlib';
import type { UpstreamReply } from './attempt.ts';
import { UpstreamFailure } from './failure.ts';

type Decode = (body: Buffer, options: ZlibOptions) => Promise<Buffer>;

/** Content codings (RFC 9110, section 8.4.1). The request accepts only identity, but a proxy in between may compress anyway. */
const codings: Readonly<Record<string, Decode>> = {
  gzip: promisify(gunzip) as Decode,
  'x-gzip': promisify(gunzip) as Decode,
  deflate: promisify(inflate) as Decode,
  br: promisify(brotliDecompress) as Decode,
  zstd: promisify(zstdDecompress) as Decode,
};

/** Decodes the body, up to `maxBytes` of output. Rejects with `UpstreamFailure`. */
export async function decodeReply<Reply extends UpstreamReply>(reply: Reply, maxBytes: number): Promise<Reply> {
  const [coding, second] = contentCodings(reply);
  if (reply.outcome !== 'found' || coding === undefined) return reply;
  const decode = Object.hasOwn(codings, coding) && second === undefined ? codings[coding] : undefined;
  if (!decode) throw new UpstreamFailure('not_json', 'the content coding of the body is not supported');
  try {
    return { ...reply, body: await decode(reply.body, { maxOutputLength: maxBytes }) };
  } catch (error) {
    throw toUpstreamFailure(error as NodeJS.ErrnoException, maxBytes);
  }
}

function contentCodings({ headers: { 'content-encoding': contentEncoding } }: UpstreamReply): string[] {
  if (contentEncoding === undefined) return [];
  const names = contentEncoding.split(',').map((name) => name.trim().toLowerCase());
  return names.filter((name) => name !== '' && name !== 'identity');
}

function toUpstreamFailure(error: NodeJS.ErrnoException, maxBytes: number): UpstreamFailure {
  switch (error.code) {
    case 'ERR_BUFFER_TOO_LARGE':
      return new UpstreamFailure('too_large', `the decoded body exceeds ${maxBytes} bytes`);
    case 'Z_BUF_ERROR':
      return new UpstreamFailure('truncated', 'the encoded body is incomplete');
    default:
      return new UpstreamFailure('not_json', 'the body is not valid in its content coding', { cause: error });
  }
}
