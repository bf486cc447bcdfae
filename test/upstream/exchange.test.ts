import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { version } from '../../src/version.ts';
import { exchangeBytes } from '../helpers/http.ts';
import { campaignPath } from '../helpers/stack.ts';
import { campaignDocument, respondWithBody } from '../helpers/upstream.ts';
import { readOutcome, startUncached } from './start-uncached.ts';

test('only the documented headers reach the campaign service, whatever the client sends', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_TOKEN: 'service-token' });
  const { 'x-api-key': key = '' } = embedded.credentials;
  const clientHeaders = [
    'Host: client.example',
    'Connection: close, x-account-group-id',
    `X-API-Key: ${key}`,
    `Authorization: Bearer ${key}`,
    'Cookie: session=client',
    'X-Account-Group-Id: ag_2',
    'X-API-Key-Id: admin',
    'X-Forwarded-For: 203.0.113.1',
    'Forwarded: for=203.0.113.1',
    'Via: 1.0 evil',
    'User-Agent: client/1.0',
    'Accept: text/html',
    'Accept-Encoding: gzip, br',
    'If-None-Match: "x"',
    'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT',
    'Content-Length: 2',
    'Expect: 100-continue',
    'Upgrade: h2c',
  ];
  const bytes = `GET ${campaignPath}?x=1 HTTP/1.1\r\n${clientHeaders.join('\r\n')}\r\n\r\n{}`;
  await exchangeBytes(embedded.gateway.url, bytes);
  const [request] = embedded.upstream.requests;
  expect(request?.url).toBe('/internal/v1/accounts/ag_1/campaigns/cmp_1');
  expect(request?.headers).toEqual({
    accept: 'application/json',
    'accept-encoding': 'identity',
    authorization: 'Bearer service-token',
    connection: 'keep-alive',
    host: new URL(embedded.upstream.url).host,
    traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-02$/),
    'user-agent': `campaign-gateway/${version}`,
    via: '1.1 campaign-gateway',
    'x-account-group-id': 'ag_1',
    'x-api-key-id': key.split('_')[1],
    'x-forwarded-for': '127.0.0.1',
  });
});

test('the upstream request is a GET of CAMPAIGN_SERVICE_URL followed by CAMPAIGN_SERVICE_PATH, without the client’s credentials', async () => {
  const settings = { CAMPAIGN_SERVICE_PATH: '/c/{campaignId}/of/{accountGroupId}' };
  const embedded = await startUncached(settings);
  const withBase = await startUncached({ ...settings, CAMPAIGN_SERVICE_URL: `${embedded.upstream.url}/base/` });
  await embedded.read('cmp_1', { authorization: `Bearer ${embedded.credentials['x-api-key']}` }, 'HEAD');
  await withBase.read();
  expect(embedded.upstream.requests.map(({ method, url, headers }) => [method, url, headers.authorization])).toEqual([
    ['GET', '/c/cmp_1/of/ag_1', undefined],
    ['GET', '/base/c/cmp_1/of/ag_1', undefined],
  ]);
});

const document = JSON.stringify(campaignDocument('cmp_1', 'ag_1'));

test('a body in a supported content coding is decoded, although the request accepts only identity', async () => {
  const embedded = await startUncached();
  const encoders = { gzip: gzipSync, 'X-GZIP, identity': gzipSync, deflate: deflateSync, br: brotliCompressSync };
  for (const [coding, encode] of Object.entries({ ...encoders, zstd: zstdCompressSync })) {
    embedded.upstream.respond = respondWithBody(encode(document), 200, { 'content-encoding': coding });
    expect([coding, await readOutcome(embedded)]).toEqual([coding, '200']);
  }
});

test('CAMPAIGN_SERVICE_MAX_BODY_BYTES limits the body as sent and as decoded, to the byte', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_MAX_BODY_BYTES: '5000' });
  for (const size of [5000, 5001]) {
    const body = document.padEnd(size);
    const compressed = respondWithBody(gzipSync(body), 200, { 'content-encoding': 'gzip' });
    for (const respond of [respondWithBody(body), compressed]) {
      embedded.upstream.respond = respond;
      expect(await readOutcome(embedded)).toBe(size === 5000 ? '200' : 'too_large');
    }
  }
});

test('a body in more than 65,536 chunks is rejected as too_large, whatever its size', async () => {
  const response = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\n \r\n'.repeat(65_537)}`;
  const embedded = await startUncached();
  embedded.upstream.respond = ({ socket }) => socket.end(response);
  expect(await readOutcome(embedded)).toBe('too_large');
});
