import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { campaignDocument, type Responder, respondWithBody } from '../helpers/upstream.ts';
import { read, startUncached } from './start-uncached.ts';

const document = JSON.stringify(campaignDocument('cmp_1', 'ag_1'));

test('a body in a supported content coding is decoded, although the request accepts only identity', async () => {
  const embedded = await startUncached();
  const codings: [coding: string, encode: (text: string) => Buffer][] = [
    ['gzip', gzipSync],
    ['X-GZIP', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
    ['identity', Buffer.from],
    ['gzip, identity', gzipSync],
  ];
  for (const [coding, encode] of codings) {
    embedded.upstream.respond = respondWithBody(encode(document), 200, { 'content-encoding': coding });
    const { body } = await embedded.read();
    expect([coding, body.data?.['name']]).toEqual([coding, 'Spring outreach']);
  }
});

test('CAMPAIGN_SERVICE_MAX_BODY_BYTES limits the body as sent and as decoded, to the byte', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_MAX_BODY_BYTES: '5000' });
  const sizes = [
    [5000, { status: 200, reason: undefined }],
    [5001, { status: 502, reason: 'too_large' }],
  ] as const;
  for (const [size, expected] of sizes) {
    const body = document.padEnd(size);
    embedded.upstream.respond = respondWithBody(body);
    expect(await read(embedded)).toEqual(expected);
    embedded.upstream.respond = respondWithBody(gzipSync(body), 200, { 'content-encoding': 'gzip' });
    expect(await read(embedded)).toEqual(expected);
  }
});

test('a body in more than 65,536 chunks is rejected as too_large, whatever its size', async () => {
  const embedded = await startUncached();
  const respondInBytes: Responder = (_request, response) => {
    const pump = () => {
      while (!response.destroyed && response.write(' '));
      if (!response.destroyed) response.once('drain', pump);
    };
    pump();
  };
  embedded.upstream.respond = respondInBytes;
  expect(await read(embedded)).toEqual({ status: 502, reason: 'too_large' });
});
