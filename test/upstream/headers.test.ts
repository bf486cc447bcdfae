import { expect, test } from 'vitest';
import { version } from '../../src/version.ts';
import { exchangeBytes } from '../helpers/http.ts';
import { startUncached } from './start-uncached.ts';

const path = '/v1/accounts/ag_1/campaigns/cmp_1';

test('only the documented headers reach the campaign service, whatever the client sends', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_TOKEN: 'service-token' });
  const { 'x-api-key': key = '' } = embedded.credentials;
  const clientHeaders = [
    `X-API-Key: ${key}`,
    `Authorization: Bearer ${key}`,
    'Cookie: session=client',
    'X-Account-Group-Id: ag_2',
    'X-API-Key-Id: admin',
    'X-Forwarded-For: 203.0.113.1',
    'X-Forwarded-Host: evil.example',
    'Forwarded: for=203.0.113.1',
    'Via: 1.0 evil',
    'User-Agent: client/1.0',
    'Accept: text/html',
    'Accept-Encoding: gzip, br',
    'Range: bytes=0-10',
    'If-None-Match: "x"',
    'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT',
    'Content-Type: application/json',
    'Content-Length: 2',
    'Expect: 100-continue',
    'TE: trailers',
    'Upgrade: h2c',
    'Baggage: user=client',
    'X-HTTP-Method-Override: DELETE',
    'X-Original-URL: /admin',
    'Proxy-Authorization: Basic client',
  ];
  await exchangeBytes(
    embedded.gateway.url,
    `GET ${path}?x=1 HTTP/1.1\r\nHost: client.example\r\nConnection: close, x-account-group-id\r\n${clientHeaders.join('\r\n')}\r\n\r\n{}`,
  );
  const [request] = embedded.upstream.requests;
  expect(request?.method).toBe('GET');
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

test('without CAMPAIGN_SERVICE_TOKEN no authorization header is sent, and a HEAD becomes a GET', async () => {
  const embedded = await startUncached();
  const { 'x-api-key': key = '' } = embedded.credentials;
  await embedded.read('cmp_1', { authorization: `Bearer ${key}` }, 'HEAD');
  const [request] = embedded.upstream.requests;
  expect(request?.method).toBe('GET');
  expect(request?.headers.authorization).toBeUndefined();
});

test('the upstream URL is CAMPAIGN_SERVICE_URL followed by CAMPAIGN_SERVICE_PATH', async () => {
  const embedded = await startUncached({ CAMPAIGN_SERVICE_PATH: '/c/{campaignId}/of/{accountGroupId}' });
  const withBase = await startUncached({
    CAMPAIGN_SERVICE_URL: `${embedded.upstream.url}/base/`,
    CAMPAIGN_SERVICE_PATH: '/c/{campaignId}/of/{accountGroupId}',
  });
  await embedded.read();
  await withBase.read();
  expect(embedded.upstream.requests.map(({ url }) => url)).toEqual(['/c/cmp_1/of/ag_1', '/base/c/cmp_1/of/ag_1']);
});

test('requests reuse one connection to the campaign service', async () => {
  const embedded = await startUncached();
  for (let i = 0; i < 5; i++) await embedded.read();
  expect(new Set(embedded.upstream.requests.map(({ socket }) => socket.remotePort)).size).toBe(1);
});
